"""Writes a replay pool during training; after a kill, a resumed writer produces the same bytes.

The working folder has sealed segments and one journal with the raw records of the open segment. `flush`
appends to the journal and never rewrites it. A segment is complete before its journal is removed, so the
records of a position are always in one of the two. A writer can resume from every position that `flush`
returned, until it resumes from an earlier one: this deletes all later data.
"""

import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from sacpipe.core.errors import PoolCorruptError, PoolError, PoolFormatError
from sacpipe.core.files import make_folder, sha256_file, storage_errors, sync_folder, write_bytes
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.manifest import MANIFEST_NAME, PoolManifest, PoolPosition, SegmentEntry, seal_segment
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.segments import Journal, journal_path, read_segment, segment_name
from sacpipe.replay.pool.transitions import (
    NEXT_OBSERVATIONS,
    OBSERVATIONS,
    Records,
    Transitions,
    image_field,
    record_dtype,
)
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

_OWN_FILES = (MANIFEST_NAME, "journal-*.bin", "segment-*.safetensors", ".*.tmp")
_REMEDY = "Resume from an older checkpoint, or remove the folder to start this run again"


def recover(folder: Path, position: PoolPosition, spec: EnvSpec) -> bytes:
    """Check all data of a position, delete later data, and return the records of the open segment.

    Nothing is deleted before all is checked. If the call is killed at any moment, the next call has the same
    result.

    Raises:
        PoolCorruptError: bytes up to the position are missing or differ; nothing was deleted.
        StorageError: the folder cannot be written.
    """
    for entry in position.segments:
        path = folder / entry.file
        found = sha256_file(path) if path.is_file() else "no file"
        if found != entry.sha256:
            raise PoolCorruptError(f"{path}: expected SHA-256 {entry.sha256}, found {found}. {_REMEDY}.")
    data = _open_records(folder, position, spec)
    _discard_beyond(folder, position, data)
    return data


def _open_records(folder: Path, position: PoolPosition, spec: EnvSpec) -> bytes:
    """Return the records after the last sealed segment, from their journal or from a segment sealed later."""
    size_bytes = position.open_transitions * record_dtype(spec).itemsize
    journal = journal_path(folder, position.sealed_transitions)
    data = journal.read_bytes()[:size_bytes] if journal.is_file() else b""
    if zlib.crc32(data) == position.open_crc32:
        return data
    sealed = folder / segment_name(position.sealed_transitions)
    later = _records_of(sealed, spec)[:size_bytes] if sealed.is_file() else b""
    if zlib.crc32(later) == position.open_crc32:
        return later
    raise PoolCorruptError(
        f"{journal}: expected {size_bytes} bytes with CRC-32 {position.open_crc32}, found {len(data)} bytes "
        f"with {zlib.crc32(data)}, and no {sealed.name} that begins with the expected bytes. {_REMEDY}."
    )


def _records_of(path: Path, spec: EnvSpec) -> bytes:
    """Return a segment's records; no bytes if the segment cannot be read. Its digest is not known here."""
    try:
        transitions = read_segment(path, spec)
    except PoolError:
        return b""
    records = np.empty(len(transitions), dtype=record_dtype(spec))
    for name, array in transitions.arrays().items():
        records[name] = array
    return records.tobytes()


def _discard_beyond(folder: Path, position: PoolPosition, data: bytes) -> None:
    journal = journal_path(folder, position.sealed_transitions)
    keep = {entry.file for entry in position.segments}
    if data:
        keep.add(journal.name)
        if not journal.is_file() or journal.read_bytes() != data:
            write_bytes(journal, data)
    with storage_errors(folder):
        make_folder(folder)
        for pattern in _OWN_FILES:
            for path in folder.glob(pattern):
                if path.name not in keep:
                    path.unlink()
        sync_folder(folder)


_NUMBERS = (
    OBSERVATIONS,
    "actions",
    "rewards",
    NEXT_OBSERVATIONS,
    "terminations",
    "truncations",
    "episode_ids",
)
START = PoolPosition(segments=(), open_transitions=0, open_crc32=0)


class PoolWriter:
    """Appends transitions to a pool. Made by `create` or `resume`; only one writer may use a folder."""

    def __init__(self, folder: Path, spec: EnvSpec, config: PoolConfig, position: PoolPosition) -> None:
        self._folder, self._spec, self._config = folder, spec, config
        self._records: Records = np.empty(config.segment_transitions, dtype=record_dtype(spec))
        self._columns = tuple(self._records[name] for name in _NUMBERS)
        names = [term.name for term in spec.layout.image_terms]
        before, after = (
            [self._records[image_field(field, name)] for name in names]
            for field in (OBSERVATIONS, NEXT_OBSERVATIONS)
        )
        self._images = tuple(zip(names, before, after, strict=True))
        self._sealed = position.segments
        self._first_step = position.sealed_transitions
        self._open = position.open_transitions
        data = recover(folder, position, spec)
        self._records[: self._open] = np.frombuffer(data, dtype=self._records.dtype)
        self._journal = Journal(journal_path(folder, self._first_step), data)

    @classmethod
    def create(cls, folder: Path, spec: EnvSpec, config: PoolConfig) -> Self:
        """Start a pool; files of an earlier attempt in the folder are deleted.

        Raises:
            StorageError: the folder cannot be written.
        """
        return cls(folder, spec, config, START)

    @classmethod
    def resume(cls, folder: Path, spec: EnvSpec, config: PoolConfig, position: PoolPosition) -> Self:
        """Continue exactly from a position that `flush` returned; later data is deleted.

        Every sealed segment is read once, to compare its digest.

        Raises:
            PoolCorruptError: bytes up to the position are missing or differ; nothing was deleted.
            PoolFormatError: the position was written with another `replay.segment_transitions`.
            StorageError: the folder cannot be written.
        """
        size, lengths = config.segment_transitions, {entry.transitions for entry in position.segments}
        if lengths - {size} or position.open_transitions > size:
            raise PoolFormatError(
                f"{folder}: expected segments of {size} transitions (replay.segment_transitions), found "
                f"{sorted(lengths)} and {position.open_transitions} open. Resume with the params of that run."
            )
        return cls(folder, spec, config, position)

    @property
    def transitions(self) -> int:
        """Number of transitions appended so far."""
        return self._first_step + self._open

    def append(self, transition: Transition) -> None:
        """Add one transition in memory. A full segment is first written to disk.

        Raises:
            StorageError: the full segment could not be written. This transition was not added; the earlier
                ones are kept.
        """
        if self._open == len(self._records):
            self._seal()
        row, observation, next_observation = self._open, transition.observation, transition.next_observation
        observations, actions, rewards, next_observations, terminations, truncations, ids = self._columns
        observations[row] = observation.vector
        actions[row] = transition.action
        rewards[row] = transition.reward
        next_observations[row] = next_observation.vector
        terminations[row] = transition.terminated
        truncations[row] = transition.truncated
        ids[row] = transition.episode_id
        for name, images, next_images in self._images:
            images[row] = observation.images[name]
            next_images[row] = next_observation.images[name]
        self._open = row + 1

    def flush(self) -> PoolPosition:
        """Make every transition so far durable; only those since the last call are written.

        Raises:
            StorageError: the disk is full; earlier positions stay valid, and flush may be called again.
        """
        if self._open == len(self._records):
            self._seal()
        flushed = self._journal.size_bytes // self._records.itemsize
        if self._open > flushed:
            self._journal.append(self._records[flushed : self._open].view(np.uint8).data)
        return PoolPosition(
            segments=self._sealed, open_transitions=self._open, open_crc32=self._journal.crc32
        )

    def finish(self) -> PoolManifest:
        """Seal the open segment and write the manifest: the folder is then a pool.

        To continue the pool later, resume from a position that `flush` returned before.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if self._open:
            self._seal()
        manifest = PoolManifest.describe(self._spec, self._config.format, self._sealed)
        manifest.write(self._folder)
        return manifest

    def publish(self, destination: Path) -> None:
        """Copy the finished pool to a new folder, atomically.

        Raises:
            PoolCorruptError: the pool is not finished, or a file is missing.
            StorageError: `destination` exists, or cannot be written.
        """
        ReplayPool.open(self._folder).publish(destination)

    def parts(self) -> list[tuple[int, Callable[[], Transitions]]]:
        """Return length and reader of each segment, the open one last."""
        parts = [(entry.transitions, partial(self._read, entry)) for entry in self._sealed]
        return [*parts, (self._open, self._open_rows)]

    def tail(self, episode_id: int) -> Transitions:
        """Return the transitions of the running episode so far; no rows if it has not begun."""
        parts = [self._open_rows()]
        for entry in reversed(self._sealed):
            if len(parts[-1]) and parts[-1].episode_ids[0] != episode_id:
                break
            parts.append(self._read(entry))
        rows = Transitions.joined(reversed(parts))
        return rows[rows.episode_ids == episode_id]

    def _open_rows(self) -> Transitions:
        return Transitions.of_records(self._spec.layout, self._records[: self._open])

    def _read(self, entry: SegmentEntry) -> Transitions:
        return read_segment(self._folder / entry.file, self._spec)

    def _seal(self) -> None:
        entry = seal_segment(
            self._folder, self._open_rows(), first_step=self._first_step, form=self._config.format
        )
        journal = self._journal
        self._sealed += (entry,)
        self._first_step += self._open
        self._open = 0
        self._journal = Journal(journal_path(self._folder, self._first_step))
        journal.remove()
