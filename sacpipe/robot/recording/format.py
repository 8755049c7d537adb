"""What a robot saw: a replay pool, and beside each transition how it came about.

    recording.json   what it is of, how much of it is durable, and its digests once it is closed
    pool/            the transitions, an ordinary replay pool
    steps.bin        one packed record a transition: stamps, policy, verdict, the action that was asked for

A recording that was killed is closed by whoever opens it next: it then ends where it was last synced.
docs/recording.md is the format's page.
"""

from pathlib import Path
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.bundle.guard_settings import CAUSES, VERDICTS, Cause, Verdict
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, PoolCorruptError, PoolFormatError
from sacpipe.core.files import (
    read_json,
    sha256_bytes,
    sha256_file,
)
from sacpipe.replay.pool.manifest import MANIFEST_NAME, PoolPosition
from sacpipe.replay.pool.reader import PoolReport, ReplayPool
from sacpipe.replay.pool.transitions import Records, Transitions, record_dtype
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.records import FloatArray

HEADER_NAME, STEPS_NAME, POOL_NAME = "recording.json", "steps.bin", "pool"
NO_CAUSE = 255

_SHA256 = r"^[0-9a-f]{64}$"
AGAIN = "Record it again"
_UNIT_TOLERANCE = 1e-6


class RecordedPolicy(Config):
    """A bundle that acted."""

    bundle_sha256: str = Field(pattern=_SHA256)
    contract_sha256: str = Field(pattern=_SHA256)


class Seal(Config):
    """Digests of what a closed recording holds."""

    pool_sha256: str = Field(pattern=_SHA256)
    """Of the pool's manifest, which names every segment's digest."""
    steps_sha256: str = Field(pattern=_SHA256)


class RecordingHeader(Config):
    """The whole of recording.json."""

    format_version: Literal[1]
    spec: EnvSpec
    """Of the contract in service: what was observed and what was done, by name, unit and bound."""
    segment_transitions: int = Field(ge=1)
    """Transitions in one sealed file of the pool."""
    began_unix_s: float = Field(ge=0)
    policies: tuple[RecordedPolicy, ...]
    """In the order in which they first acted; a step names one by its place here."""
    position: PoolPosition
    """What is durable of the pool; beyond it, a killed recording holds nothing."""
    steps_crc32: int = Field(ge=0, lt=2**32)
    dropped: int = Field(ge=0)
    """Steps that the recorder could not keep up with."""
    seal: Seal | None
    """Null while it is being written."""


class RecordedStep(NamedTuple):
    """How a transition came about."""

    stamp_ns: int
    """Of its observation, by the runtime's clock."""
    next_stamp_ns: int
    """Of its next observation."""
    policy: RecordedPolicy
    verdict: Verdict
    cause: Cause | None
    has_reward: bool
    """Whether the robot gave the reward; else the pool holds 0."""
    executed_action: FloatArray
    """In task units. Shape (action_dim,)."""
    policy_action: FloatArray | None
    """What the policy gave, in task units; None where it gave nothing finite. Shape (action_dim,)."""


def step_dtype(spec: EnvSpec) -> np.dtype[np.void]:
    """Return the packed little-endian record of steps.bin, without gaps."""
    wide = (spec.action_dim,)
    return np.dtype(
        [
            ("stamp_ns", "<i8"),
            ("next_stamp_ns", "<i8"),
            ("policy", "<u2"),
            ("verdict", "u1"),
            ("cause", "u1"),
            ("has_reward", "u1"),
            ("executed", "<f4", wide),
            ("asked", "<f4", wide),
        ]
    )


def transition_bytes(spec: EnvSpec) -> int:
    """Return how much a transition takes at most, in its segment and in steps.bin."""
    row_bytes = np.dtype(np.int64).itemsize  # where its next observation is kept, this says which it is
    return record_dtype(spec).itemsize + row_bytes + step_dtype(spec).itemsize


class Recording:
    """A closed recording. Immutable."""

    def __init__(self, folder: Path, header: RecordingHeader, pool: ReplayPool) -> None:
        self.folder, self.header, self.pool = folder, header, pool

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read the headers of a recording and of its pool, and no more.

        Raises:
            PoolFormatError: a version is not known here.
            PoolCorruptError: it was never closed, or a file is missing or torn.
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
        """Digest of the header, which names the digests of all the rest."""
        return sha256_file(self.folder / HEADER_NAME)

    def steps(self) -> Records:
        """Read steps.bin: one record of `step_dtype` a transition.

        Raises:
            PoolCorruptError: its bytes are not those that were closed.
        """
        path = self.folder / STEPS_NAME
        data = path.read_bytes() if path.is_file() else b""
        expected = "" if self.header.seal is None else self.header.seal.steps_sha256
        if sha256_bytes(data) != expected:
            raise PoolCorruptError(
                f"{path}: expected SHA-256 {expected}, found {sha256_bytes(data)}. {AGAIN}."
            )
        dtype = step_dtype(self.header.spec)
        if len(data) != self.pool.transitions * dtype.itemsize:
            raise PoolCorruptError(
                f"{path}: expected {self.pool.transitions} records of {dtype.itemsize} bytes, found "
                f"{len(data)} bytes. {AGAIN}."
            )
        return np.frombuffer(data, dtype=dtype)

    def check(self) -> PoolReport:
        """Read every byte: digests, the pool's own rules, and whether steps and transitions agree.

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
        path, first, rescale = self.folder / STEPS_NAME, 0, to_unit_range(self.header.spec)
        for entry in self.pool.segments:
            transitions = self.pool.read(entry)
            rows = steps[first : first + len(transitions)]
            units = np.stack([rescale(action) for action in rows["executed"]])
            rules: list[tuple[str, NDArray[np.bool_]]] = [
                ("a policy that the header names", rows["policy"] >= len(self.header.policies)),
                ("a verdict of this format", rows["verdict"] >= len(VERDICTS)),
                ("a cause of this format", (rows["cause"] >= len(CAUSES)) & (rows["cause"] != NO_CAUSE)),
                ("0 or 1 in has_reward", rows["has_reward"] > 1),
                ("a stamp before the next one", rows["stamp_ns"] >= rows["next_stamp_ns"]),
                ("the pool's action where it was executed", _differ(units, transitions.actions)),
                ("a step to begin when the one before ended", _jumps(transitions, rows)),
            ]
            for expected, faults in rules:
                if faults.any():
                    step = first + int(np.argmax(faults))
                    raise PoolCorruptError(
                        f"{path}: expected {expected}, found another at step {step}. {AGAIN}."
                    )
            first += len(transitions)


def _differ(units: FloatArray, actions: FloatArray) -> NDArray[np.bool_]:
    near: NDArray[np.bool_] = (np.abs(units - actions) <= _UNIT_TOLERANCE).all(axis=1)
    return ~near  # NaN included


def _jumps(transitions: Transitions, rows: Records) -> NDArray[np.bool_]:
    jumps = np.zeros(len(rows), dtype=np.bool_)
    same = transitions.episode_ids[1:] == transitions.episode_ids[:-1]
    jumps[1:] = same & (rows["stamp_ns"][1:] != rows["next_stamp_ns"][:-1])
    return jumps


def read_header(folder: Path) -> RecordingHeader:
    """Read recording.json, of a closed recording or an open one.

    Raises:
        PoolFormatError: the version or a key is not known here.
        PoolCorruptError: the file is missing or no JSON.
    """
    path = folder / HEADER_NAME
    tree = read_json(path, PoolCorruptError)
    version = tree.get("format_version") if isinstance(tree, dict) else None
    if version != 1:
        raise PoolFormatError(
            f"{path}: expected format_version 1, found {version!r}. Read it with the sacpipe that wrote it."
        )
    try:
        return RecordingHeader.parse(tree, source=str(path))
    except ConfigError as exc:
        raise PoolFormatError(str(exc)) from exc
