"""Writes a replay pool while training runs, and continues it after a kill to the same bytes.

The working folder holds sealed segments and one journal: the raw records of the open segment, grown by
`flush` and never rewritten. A segment is written whole before its journal is removed, so the records a
position needs are always in one or the other: every position `flush` ever returned can be resumed from,
until a resume from an earlier one discards what it names.
"""

from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from sacpipe.core.errors import PoolFormatError
from sacpipe.replay.pool.config import ReplayConfig
from sacpipe.replay.pool.journal import Journal, journal_path
from sacpipe.replay.pool.manifest import PoolManifest, PoolPosition, SegmentEntry
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.recovery import recover
from sacpipe.replay.pool.sealing import seal_segment
from sacpipe.replay.pool.segments import read_segment
from sacpipe.replay.pool.transitions import FIELD_NAMES, Records, Transitions, TransitionSink, record_dtype
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

START = PoolPosition(segments=(), open_transitions=0, open_crc32=0)


class PoolWriter:
    """Appends transitions to a pool in a folder of its own. Made by `create` or `resume`; one a folder."""

    def __init__(self, folder: Path, spec: EnvSpec, config: ReplayConfig, position: PoolPosition) -> None:
        self._folder, self._spec, self._config = folder, spec, config
        self._records: Records = np.empty(config.segment_transitions, dtype=record_dtype(spec))
        self._columns = tuple(self._records[name] for name in FIELD_NAMES)
        self._sealed = position.segments
        self._first_step = position.sealed_transitions
        self._open = position.open_transitions
        data = recover(folder, position, self._records.dtype)
        self._records[: self._open] = np.frombuffer(data, dtype=self._records.dtype)
        self._journal = Journal(journal_path(folder, self._first_step), data)

    @classmethod
    def create(cls, folder: Path, spec: EnvSpec, config: ReplayConfig) -> Self:
        """Start a pool, discarding what an earlier attempt left in the folder.

        Raises:
            StorageError: the folder cannot be written.
        """
        return cls(folder, spec, config, START)

    @classmethod
    def resume(cls, folder: Path, spec: EnvSpec, config: ReplayConfig, position: PoolPosition) -> Self:
        """Continue exactly from a position that `flush` returned; discard what was written behind it.

        Reads every sealed segment once, to compare digests.

        Raises:
            PoolCorruptError: bytes up to the position are missing or differ; nothing was discarded.
            PoolFormatError: the position comes from another `replay.segment_transitions`.
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
        """Transitions appended so far."""
        return self._first_step + self._open

    def append(self, transition: Transition) -> None:
        """Take one transition; nothing is written, except a full segment before the next one begins.

        Raises:
            StorageError: the full segment could not be written. This transition was not taken, none is lost.
        """
        if self._open == len(self._records):
            self._seal()
        row = self._open
        observations, actions, rewards, next_observations, terminations, truncations, ids = self._columns
        observations[row] = transition.observation
        actions[row] = transition.action
        rewards[row] = transition.reward
        next_observations[row] = transition.next_observation
        terminations[row] = transition.terminated
        truncations[row] = transition.truncated
        ids[row] = transition.episode_id
        self._open = row + 1

    def flush(self) -> PoolPosition:
        """Make every transition so far durable, writing only those new since the last call.

        Raises:
            StorageError: the disk is full; earlier positions stay good, and flush may be called again.
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
        """Seal what is open and write the manifest: the folder is then a pool.

        A later run that goes on from here resumes from a position flushed before.

        Raises:
            StorageError: the disk is full or the folder cannot be written.
        """
        if self._open:
            self._seal()
        manifest = PoolManifest.describe(self._spec, self._config.format, self._sealed)
        manifest.write(self._folder)
        return manifest

    def publish(self, destination: Path) -> None:
        """Copy the finished pool to a folder that does not exist yet; it appears whole or not at all.

        Raises:
            PoolCorruptError: the pool is not finished, or a file is missing.
            StorageError: something stands at `destination`, or it cannot be written.
        """
        ReplayPool.open(self._folder).publish(destination)

    def fill(self, buffer: TransitionSink) -> None:
        """Add all transitions so far to a buffer, as if step by step."""
        parts = [(entry.transitions, partial(self._read, entry)) for entry in self._sealed]
        buffer.load([*parts, (self._open, self._open_rows)])

    def tail(self, episode_id: int) -> Transitions:
        """Return what the running episode has so far; no rows where it has not begun."""
        parts = [self._open_rows()]
        for entry in reversed(self._sealed):
            if len(parts[-1]) and parts[-1].episode_ids[0] != episode_id:
                break
            parts.append(self._read(entry))
        rows = Transitions.joined(reversed(parts))
        return rows[rows.episode_ids == episode_id]

    def _open_rows(self) -> Transitions:
        return Transitions.of_records(self._records[: self._open])

    def _read(self, entry: SegmentEntry) -> Transitions:
        return read_segment(self._folder / entry.file)

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
