"""Writes a recording, and resumes one whose writer was killed. docs/recording.md describes the format."""

from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from sacpipe.core.errors import PoolCorruptError
from sacpipe.core.files import (
    make_folder,
    remove_leftovers,
    sha256_bytes,
    sha256_file,
    storage_errors,
    sync_folder,
    write_bytes,
    write_json,
)
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.manifest import MANIFEST_NAME
from sacpipe.replay.pool.segments import Journal
from sacpipe.replay.pool.writer import START, PoolWriter
from sacpipe.robot.recording.format import (
    AGAIN,
    FORMAT_VERSION,
    HEADER_NAME,
    NO_CAUSE,
    POOL_NAME,
    STEPS_NAME,
    RecordedStep,
    RecordingHeader,
    Seal,
    read_header,
    step_dtype,
)
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

_T = TypeVar("_T")


class RecordingWriter:
    """Writes one recording, from one thread. `create` and `resume` make it."""

    def __init__(self, folder: Path, header: RecordingHeader, pool: PoolWriter, steps: bytes) -> None:
        self.folder, self._header, self._pool = folder, header, pool
        self._steps = Journal(folder / STEPS_NAME, steps)
        self._waiting: list[bytes] = []
        self.has_term_stamps = header.has_term_stamps
        """Whether the stamp of each term is recorded."""
        self._record = np.zeros((), dtype=step_dtype(header.spec, has_term_stamps=header.has_term_stamps))
        self._names = [term.name for term in header.spec.observation]
        self._policies = {policy: place for place, policy in enumerate(header.policies)}
        self._verdicts = {verdict: place for place, verdict in enumerate(header.verdicts)}
        self._causes = {cause: place for place, cause in enumerate(header.causes)}

    @classmethod
    def create(
        cls,
        folder: Path,
        spec: EnvSpec,
        segment_transitions: int,
        began_unix_s: float,
        *,
        has_term_stamps: bool = False,
    ) -> Self:
        """Start a recording in a folder that does not exist yet.

        Args:
            folder: Is created.
            spec: Terms and bounds of the contract in service.
            segment_transitions: Number of transitions in one sealed segment of the pool.
            began_unix_s: Time of the start, in Unix seconds.
            has_term_stamps: Whether the stamp of each term is recorded.

        Raises:
            StorageError: the folder cannot be written.
        """
        header = RecordingHeader(
            format_version=FORMAT_VERSION,
            spec=spec,
            has_term_stamps=has_term_stamps,
            segment_transitions=segment_transitions,
            began_unix_s=began_unix_s,
            policies=(),
            verdicts=(),
            causes=(),
            position=START,
            steps_crc32=0,
            dropped=0,
            seal=None,
        )
        with storage_errors(folder):
            make_folder(folder.parent)
            folder.mkdir()
            sync_folder(folder.parent)
        write_json(folder / HEADER_NAME, header.as_tree())  # first: it proves that the folder is a recorder's
        pool = PoolWriter.create(folder / POOL_NAME, spec, _pool(segment_transitions))
        return cls(folder, header, pool, b"")

    @classmethod
    def resume(cls, folder: Path) -> Self:
        """Resume a recording whose writer was killed, from its last sync.

        Raises:
            PoolFormatError: this program does not read the version.
            PoolCorruptError: synced bytes are missing or differ; nothing was discarded.
            StorageError: the folder cannot be written.
        """
        header = read_header(folder)
        dtype = step_dtype(header.spec, has_term_stamps=header.has_term_stamps)
        size = header.position.transitions * dtype.itemsize
        path = folder / STEPS_NAME
        steps = path.read_bytes()[:size] if path.is_file() else b""
        journal = Journal(path, steps)
        if len(steps) != size or journal.crc32 != header.steps_crc32:
            raise PoolCorruptError(
                f"{path}: expected {size} bytes with CRC-32 {header.steps_crc32}, found {len(steps)} with "
                f"{journal.crc32}. {AGAIN}."
            )
        pool = PoolWriter.resume(
            folder / POOL_NAME, header.spec, _pool(header.segment_transitions), header.position
        )
        write_bytes(path, steps)
        remove_leftovers(folder)
        return cls(folder, header, pool, steps)

    @property
    def transitions(self) -> int:
        """Number of transitions so far."""
        return self._pool.transitions

    def append(self, transition: Transition, step: RecordedStep) -> None:
        """Append one transition.

        Raises:
            StorageError: a full segment could not be written. This transition was not appended.
        """
        self._pool.append(transition)
        record = self._record
        record["stamp_ns"], record["next_stamp_ns"] = step.stamp_ns, step.next_stamp_ns
        if self.has_term_stamps:
            stamps_ns = step.term_stamps_ns
            record["term_stamps_ns"] = (
                step.stamp_ns if stamps_ns is None else [stamps_ns[name] for name in self._names]
            )
        record["policy"] = _place(self._policies, step.policy)
        record["verdict"] = _place(self._verdicts, step.verdict)
        record["cause"] = NO_CAUSE if step.cause is None else _place(self._causes, step.cause)
        record["has_reward"] = step.has_reward
        record["executed_action"] = step.executed_action
        record["policy_action"] = np.nan if step.policy_action is None else step.policy_action
        self._waiting.append(record.tobytes())

    def flush(self, dropped: int) -> None:
        """Sync everything so far to disk.

        Args:
            dropped: Number of steps that were dropped so far, for the header.

        Raises:
            StorageError: the disk is full; what was synced before stays valid.
        """
        waiting = b"".join(self._waiting)
        self._steps.append(memoryview(waiting))
        self._waiting = []
        self._write_header(position=self._pool.flush(), dropped=dropped)

    def close(self, dropped: int | None = None) -> None:
        """Flush and write the seal; `Recording.open` then accepts the folder.

        Args:
            dropped: Number of steps that were dropped, for the header; None where it has not changed.

        Raises:
            StorageError: the disk is full. The folder can be resumed and closed again.
        """
        self.flush(self._header.dropped if dropped is None else dropped)
        self._pool.finish()
        pool_sha256 = sha256_file(self.folder / POOL_NAME / MANIFEST_NAME)
        steps = self.folder / STEPS_NAME
        steps_sha256 = sha256_file(steps) if steps.is_file() else sha256_bytes(b"")
        self._write_header(seal=Seal(pool_sha256=pool_sha256, steps_sha256=steps_sha256))

    def _write_header(self, **changes: Any) -> None:
        fields = {
            "policies": tuple(self._policies),
            "verdicts": tuple(self._verdicts),
            "causes": tuple(self._causes),
            "steps_crc32": self._steps.crc32,
            **changes,
        }
        self._header = self._header.model_copy(update=fields)
        write_json(self.folder / HEADER_NAME, self._header.as_tree(), makes_folder=False)


def _place(places: dict[_T, int], name: _T) -> int:
    """Return the index of a name in a list of the header; a new name gets the next one."""
    return places.setdefault(name, len(places))


def _pool(segment_transitions: int) -> PoolConfig:
    return PoolConfig(segment_transitions=segment_transitions, format="compact")
