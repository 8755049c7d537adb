"""The format of a recording: a replay pool, and for each transition the decision that led to it.

    recording.json   task, policies, how much is durable, and the digests once the recording is closed
    pool/            the transitions, an ordinary replay pool
    steps.bin        one packed record for each transition: stamps, policy, verdict, cause, actions

Where a recorder was killed, the next recorder of the folder closes its recording at the last sync.
docs/recording.md describes the format.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.bundle.guards import GuardName
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, PoolCorruptError, PoolFormatError
from sacpipe.core.files import read_json, sha256_bytes, sha256_file
from sacpipe.replay.pool.manifest import MANIFEST_NAME, PoolPosition
from sacpipe.replay.pool.reader import PoolReport, ReplayPool
from sacpipe.replay.pool.transitions import Records, Transitions, record_dtype
from sacpipe.robot.decision import Verdict
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.records import FloatArray

HEADER_NAME, STEPS_NAME, POOL_NAME = "recording.json", "steps.bin", "pool"
FORMAT_VERSION: Literal[2] = 2
MAX_NAMES = 10_000
"""Maximum number of policies, and of causes, of one recording."""
NO_CAUSE = 65_535
"""Value of the field `cause` in steps.bin where no guard refused anything."""

_SHA256 = r"^[0-9a-f]{64}$"
AGAIN = "Record it again"
_UNIT_TOLERANCE = 1e-6


class RecordedPolicy(Config):
    """A bundle whose policy acted."""

    bundle_sha256: str = Field(pattern=_SHA256)
    contract_sha256: str = Field(pattern=_SHA256)


class Seal(Config):
    """Digests of a closed recording."""

    pool_sha256: str = Field(pattern=_SHA256)
    """Digest of the pool's manifest, which has the digest of every segment."""
    steps_sha256: str = Field(pattern=_SHA256)
    """Digest of steps.bin."""


class RecordingHeader(Config):
    """Content of recording.json."""

    format_version: Literal[2]
    spec: EnvSpec
    """Terms of the contract in service: names, units and bounds of observations and actions."""
    has_term_stamps: bool
    """Whether steps.bin has the stamp of each term."""
    segment_transitions: int = Field(ge=1)
    """Number of transitions in one sealed segment of the pool."""
    began_unix_s: float = Field(ge=0)
    """Time of the start, in Unix seconds of the robot's clock."""
    policies: tuple[RecordedPolicy, ...] = Field(max_length=MAX_NAMES)
    """Policies in the order in which they first acted; a step has the index of its policy in this list."""
    verdicts: tuple[Verdict, ...]
    """Verdicts in the order of first use; a step has the index of its verdict in this list."""
    causes: tuple[GuardName, ...] = Field(max_length=MAX_NAMES)
    """Names of the guards that refused a step, in the order of first use; a step has the index of one."""
    position: PoolPosition
    """How far the pool is durable; the rest of an unfinished recording is discarded."""
    steps_crc32: int = Field(ge=0, lt=2**32)
    """CRC-32 of the durable records of steps.bin."""
    dropped: int = Field(ge=0)
    """Number of steps that were dropped because the recorder could not keep up."""
    seal: Seal | None
    """Digests of the closed recording; null while it is written."""


class RecordedStep(NamedTuple):
    """The decision that led to a transition."""

    stamp_ns: int
    """Stamp of the observation, in nanoseconds of the runtime's clock; the newest of its terms."""
    next_stamp_ns: int
    """Stamp of the next observation."""
    term_stamps_ns: Mapping[str, int] | None
    """Stamp of each term, by name; None where the observation had one stamp."""
    policy: RecordedPolicy
    verdict: Verdict
    cause: str | None
    """Name of the guard that refused the step; None where none did."""
    has_reward: bool
    """Whether the robot reported a reward; the pool has 0 where it did not."""
    executed_action: FloatArray
    """Executed action, in task units. Shape (action_dim,)."""
    policy_action: FloatArray | None
    """Action of the policy, in task units; None where it computed no finite action. Shape (action_dim,)."""


def step_dtype(spec: EnvSpec, *, has_term_stamps: bool) -> np.dtype[np.void]:
    """Return the packed little-endian record of steps.bin, without padding."""
    action, terms = (spec.action_dim,), (len(spec.observation),)
    return np.dtype(
        [
            ("stamp_ns", "<i8"),
            ("next_stamp_ns", "<i8"),
            *([("term_stamps_ns", "<i8", terms)] if has_term_stamps else []),
            ("policy", "<u2"),
            ("cause", "<u2"),
            ("verdict", "u1"),
            ("has_reward", "u1"),
            ("executed_action", "<f4", action),
            ("policy_action", "<f4", action),
        ]
    )


def transition_bytes(spec: EnvSpec) -> int:
    """Return the largest size of a transition, in its segment and in steps.bin together."""
    row_bytes = np.dtype(np.int64).itemsize  # the row number of a next observation that is stored apart
    return record_dtype(spec).itemsize + row_bytes + step_dtype(spec, has_term_stamps=True).itemsize


class Recording:
    """A closed recording. Immutable."""

    def __init__(self, folder: Path, header: RecordingHeader, pool: ReplayPool) -> None:
        self.folder, self.header, self.pool = folder, header, pool

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the headers of a recording and of its pool, and no other file.

        Raises:
            PoolFormatError: this program does not read the version.
            PoolCorruptError: the recording was not closed, or a file is missing or incomplete.
        """
        header = read_header(folder)
        if header.seal is None:
            raise PoolCorruptError(
                f"{folder}: expected a closed recording, found one that is being written or was killed. "
                "The next recorder of its folder closes it."
            )
        return cls(folder, header, ReplayPool.open(folder / POOL_NAME))

    @property
    def sha256(self) -> str:
        """Digest of the header, which has the digests of the other files."""
        return sha256_file(self.folder / HEADER_NAME)

    def steps(self) -> Records:
        """Read steps.bin: one record of `step_dtype` for each transition.

        Raises:
            PoolCorruptError: the bytes differ from the digest in the header.
        """
        path = self.folder / STEPS_NAME
        data = path.read_bytes() if path.is_file() else b""
        expected = "" if self.header.seal is None else self.header.seal.steps_sha256
        if sha256_bytes(data) != expected:
            raise PoolCorruptError(
                f"{path}: expected SHA-256 {expected}, found {sha256_bytes(data)}. {AGAIN}."
            )
        dtype = step_dtype(self.header.spec, has_term_stamps=self.header.has_term_stamps)
        if len(data) != self.pool.transitions * dtype.itemsize:
            raise PoolCorruptError(
                f"{path}: expected {self.pool.transitions} records of {dtype.itemsize} bytes, found "
                f"{len(data)} bytes. {AGAIN}."
            )
        return np.frombuffer(data, dtype=dtype)

    def check(self) -> PoolReport:
        """Read every byte and check digests, the rules of the pool, and that steps and transitions agree.

        Raises:
            PoolFormatError: a segment has a version this program does not read.
            PoolCorruptError: names the file, what was expected and what was found.
        """
        manifest, seal = self.pool.folder / MANIFEST_NAME, self.header.seal
        found = sha256_file(manifest)
        if seal is None or found != seal.pool_sha256:
            raise PoolCorruptError(f"{manifest}: expected another SHA-256 than {found}. {AGAIN}.")
        if self.pool.spec != self.header.spec:
            raise PoolCorruptError(f"{manifest}: expected the task of {HEADER_NAME}, found another.")
        report = self.pool.check()
        self._check_steps(self.steps())
        return report

    def _check_steps(self, steps: Records) -> None:
        path, first, header = self.folder / STEPS_NAME, 0, self.header
        rescale = to_unit_range(header.spec)
        for entry in self.pool.segments:
            transitions = self.pool.read(entry)
            rows = steps[first : first + len(transitions)]
            units = np.stack([rescale(action) for action in rows["executed_action"]])
            rules: list[tuple[str, NDArray[np.bool_]]] = [
                ("the index of a policy in the header", rows["policy"] >= len(header.policies)),
                ("the index of a verdict in the header", rows["verdict"] >= len(header.verdicts)),
                (
                    "the index of a cause in the header",
                    (rows["cause"] >= len(header.causes)) & (rows["cause"] != NO_CAUSE),
                ),
                ("0 or 1 in has_reward", rows["has_reward"] > 1),
                ("a stamp before the next one", rows["stamp_ns"] >= rows["next_stamp_ns"]),
                ("the newest stamp of its terms", _stamps_differ(header, rows)),
                ("the pool's action where it was executed", _differ(units, transitions.actions)),
                ("the stamp at which the step before ended", _jumps(transitions, rows)),
            ]
            for expected, faults in rules:
                if faults.any():
                    step = first + int(np.argmax(faults))
                    raise PoolCorruptError(
                        f"{path}: expected {expected}, found another at step {step}. {AGAIN}."
                    )
            first += len(transitions)


def _stamps_differ(header: RecordingHeader, rows: Records) -> NDArray[np.bool_]:
    if not header.has_term_stamps:
        return np.zeros(len(rows), dtype=np.bool_)
    differ: NDArray[np.bool_] = rows["term_stamps_ns"].max(axis=1) != rows["stamp_ns"]
    return differ


def _differ(units: FloatArray, actions: FloatArray) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = (np.abs(units - actions) <= _UNIT_TOLERANCE).all(axis=1)
    return ~near  # NaN included


def _jumps(transitions: Transitions, rows: Records) -> NDArray[np.bool_]:
    jumps = np.zeros(len(rows), dtype=np.bool_)
    same = transitions.episode_ids[1:] == transitions.episode_ids[:-1]
    jumps[1:] = same & (rows["stamp_ns"][1:] != rows["next_stamp_ns"][:-1])
    return jumps


def read_header(folder: Path) -> RecordingHeader:
    """Read recording.json, of a closed recording or of an open one.

    Raises:
        PoolFormatError: this program does not read the version, or a key is unknown.
        PoolCorruptError: the file is missing or is not JSON.
    """
    path = folder / HEADER_NAME
    tree = read_json(path, PoolCorruptError)
    version = tree.get("format_version") if isinstance(tree, dict) else None
    if version != FORMAT_VERSION or isinstance(version, bool):
        raise PoolFormatError(
            f"{path}: expected format_version {FORMAT_VERSION}, found {version!r}. Read it with the sacpipe "
            "that wrote it."
        )
    try:
        return RecordingHeader.parse(tree, source=str(path))
    except ConfigError as exc:
        raise PoolFormatError(str(exc)) from exc
