"""Reads a replay pool: a folder of sealed segments and a manifest. docs/replay-pool.md has the format."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.config import Config
from sacpipe.core.errors import PoolCorruptError, StorageError
from sacpipe.core.files import copy_file, sha256_file, storage_errors, sync_folder
from sacpipe.replay.pool.manifest import MANIFEST_NAME, SEALED_MODE, PoolManifest, SegmentEntry, read_manifest
from sacpipe.replay.pool.segments import RESTORE, read_segment
from sacpipe.replay.pool.transitions import FieldSpec, Transitions, TransitionSink, differ
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_Faults = NDArray[np.bool_]


def check_shapes(transitions: Transitions, fields: tuple[FieldSpec, ...], rows: int, where: str) -> None:
    """Compare shape and type of every array with its field.

    Raises:
        PoolCorruptError: an array differs. The message has the field, and shape and type expected and found.
    """
    arrays = transitions.arrays()
    for field in fields:
        array = arrays[field.name]
        expected = f"{field.dtype}{(rows, *field.shape)}"
        found = f"{array.dtype}{array.shape}"
        if found != expected:
            raise PoolCorruptError(f"{where}: expected {field.name} as {expected}, found {found}. {RESTORE}.")


def check_values(transitions: Transitions, first_step: int, where: str) -> None:
    """Check that every value is allowed.

    Raises:
        PoolCorruptError: a number is not finite, a flag is neither 0 nor 1, or an action is outside [-1, 1].
    """
    arrays = transitions.arrays()
    numbers = [name for name, array in arrays.items() if array.dtype == np.float32]
    rules: list[tuple[str, str, Callable[[NDArray[Any]], _Faults]]] = [
        *((name, "finite numbers", lambda array: ~np.isfinite(array)) for name in numbers),
        ("terminations", "0 or 1", _is_no_flag),
        ("truncations", "0 or 1", _is_no_flag),
        ("actions", "values in [-1, 1]", lambda array: np.abs(array) > 1.0),
    ]
    for name, expected, faults_in in rules:
        array = arrays[name]
        faults = faults_in(array)
        if faults.any():
            place = np.argwhere(faults)[0]
            found, step = array[tuple(place)], first_step + place[0]
            raise PoolCorruptError(
                f"{where}: expected {expected} in {name}, found {found} at step {step}. {RESTORE}."
            )


def check_order(transitions: Transitions, first_step: int, where: str) -> None:
    """Check the order of steps and episodes from row to row.

    Raises:
        PoolCorruptError: episode ids fall, an episode continues after its end, or a step does not begin
            with the next observation of the step before.
    """
    ids = transitions.episode_ids
    same = ids[1:] == ids[:-1]
    ended = (transitions.terminations[:-1] > 0) | (transitions.truncations[:-1] > 0)
    after, before = transitions.next_observations, transitions.observations
    jumps = differ(after.vector[:-1], before.vector[1:])
    for name, image in before.images.items():
        jumps |= differ(after.images[name][:-1], image[1:])
    rules: list[tuple[str, str, _Faults]] = [
        ("episode ids that never fall", "a lower one", ids[1:] < ids[:-1]),
        ("a new episode id after an end", "the same one", same & ended),
        ("the next observation of the step before", "another observation", same & jumps),
    ]
    for expected, found, faults in rules:
        if faults.any():
            step = first_step + 1 + int(np.argmax(faults))
            raise PoolCorruptError(f"{where}: expected {expected}, found {found} at step {step}. {RESTORE}.")


def _is_no_flag(array: NDArray[Any]) -> _Faults:
    return ~np.isin(array, (0, 1))


class PoolReport(Config):
    """Counts of a full check of a pool."""

    segments: int
    transitions: int
    episodes: int
    """Number of distinct episode ids."""
    terminations: int
    truncations: int
    size_bytes: int
    """Size of all segments."""


class ReplayPool:
    """A finished pool. Immutable: a method that changes the pool on disk returns another ReplayPool."""

    def __init__(self, folder: Path, manifest: PoolManifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @classmethod
    def open(cls, folder: Path | str) -> Self:
        """Read the manifest and compare the size of each segment; no segment is read.

        Raises:
            PoolFormatError: the pool has a version or fields this program does not read.
            PoolCorruptError: the manifest or a segment is missing, or a segment is incomplete.
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        for entry in manifest.segments:
            path = folder / entry.file
            found = path.stat().st_size if path.is_file() else None
            if found != entry.size_bytes:
                what = "no file" if found is None else f"{found} bytes"
                raise PoolCorruptError(f"{path}: expected {entry.size_bytes} bytes, found {what}. {RESTORE}.")
        return cls(folder, manifest)

    @property
    def spec(self) -> EnvSpec:
        """Task of the transitions."""
        return self.manifest.spec

    @property
    def segments(self) -> tuple[SegmentEntry, ...]:
        """Segments, oldest first."""
        return self.manifest.segments

    @property
    def transitions(self) -> int:
        """Number of transitions in all segments."""
        return self.manifest.transitions

    def read(self, segment: SegmentEntry) -> Transitions:
        """Read one segment in the full form. The digest is not compared; `check` compares it.

        Raises:
            PoolFormatError: the file has a version this program does not read.
            PoolCorruptError: the file is missing or incomplete, or its shapes differ from the manifest's.
        """
        path = self.folder / segment.file
        transitions = read_segment(path, self.spec)
        check_shapes(transitions, self.manifest.transition_fields, segment.transitions, str(path))
        return transitions

    def fill(self, buffer: TransitionSink) -> None:
        """Add the pool to a buffer in order; segments that the buffer would overwrite are not read.

        Raises:
            PoolCorruptError: a segment cannot be read; the buffer must not be used then.
        """
        buffer.load([(entry.transitions, partial(self.read, entry)) for entry in self.segments])

    def observations(self, limit: int) -> Observation:
        """Return at most `limit` observations, evenly spread over the pool. Leading axis: rows."""
        count = min(limit, self.transitions)
        rows = np.arange(count, dtype=np.int64) * self.transitions // max(count, 1)
        chosen, first = self.spec.layout.empty(count), 0
        for entry in self.segments:
            here = np.flatnonzero((rows >= first) & (rows < first + entry.transitions))
            if here.size:
                found = self.read(entry).observations.rows(rows[here] - first)
                chosen.vector[here] = found.vector
                for name, image in found.images.items():
                    chosen.images[name][here] = image
            first += entry.transitions
        return chosen

    def observation_range(self) -> tuple[FloatArray, FloatArray]:
        """Return lowest and highest value of each float32 entry of an observation.

        The pool must not be empty. The order is that of the packed vector. Shapes (observation_dim,).
        """
        low = np.full(self.spec.observation_dim, np.inf, dtype=np.float32)
        high = -low
        for entry in self.segments:
            vectors = self.read(entry).observations.vector
            np.minimum(low, vectors.min(axis=0), out=low)
            np.maximum(high, vectors.max(axis=0), out=high)
        return low, high

    def check(self) -> PoolReport:
        """Read every byte and check digests, shapes, values, and the order of steps and episodes.

        Raises:
            PoolFormatError: a segment has a version this program does not read.
            PoolCorruptError: a check fails. The message has segment, expected and found value.
        """
        counts = {"episodes": 0, "terminations": 0, "truncations": 0}
        previous: Transitions | None = None
        for entry in self.segments:
            transitions = self._checked(entry, previous)
            known = 0 if previous is None else int(previous.episode_ids[-1] == transitions.episode_ids[0])
            counts["episodes"] += len(np.unique(transitions.episode_ids)) - known
            counts["terminations"] += int(transitions.terminations.sum(dtype=np.int64))
            counts["truncations"] += int(transitions.truncations.sum(dtype=np.int64))
            previous = transitions[-1:]
        size_bytes = sum(entry.size_bytes for entry in self.segments)
        return PoolReport(
            segments=len(self.segments), transitions=self.transitions, size_bytes=size_bytes, **counts
        )

    def evict(self, *, keep_transitions: int) -> "ReplayPool":
        """Remove the oldest segments from the manifest and return the shorter pool; no file is deleted.

        Args:
            keep_transitions: Least number of transitions to keep.

        Raises:
            StorageError: the manifest cannot be written.
        """
        kept, left = self.segments, self.transitions
        while kept and left - kept[0].transitions >= keep_transitions:
            left -= kept[0].transitions
            kept = kept[1:]
        manifest = PoolManifest.describe(self.spec, self.manifest.format, kept)
        manifest.write(self.folder)
        return ReplayPool(self.folder, manifest)

    def publish(self, destination: Path) -> None:
        """Copy the manifest and its segments to a new folder, atomically.

        The files are copied, not linked: DVC may link them into its cache, and the writer must not share
        the same files.

        Raises:
            StorageError: `destination` exists, the disk is full, or a folder cannot be written.
        """
        if destination.exists():
            raise StorageError(f"cannot write {destination}: it exists already. Remove it first.")
        temporary = destination.with_name(f".{destination.name}.tmp")
        with storage_errors(destination):
            try:
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.mkdir(parents=True)
                for entry in self.segments:
                    copy_file(self.folder / entry.file, temporary / entry.file)
                    (temporary / entry.file).chmod(SEALED_MODE)
                copy_file(self.folder / MANIFEST_NAME, temporary / MANIFEST_NAME)
                sync_folder(temporary)
                temporary.rename(destination)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_folder(destination.parent)

    def _checked(self, entry: SegmentEntry, previous: Transitions | None) -> Transitions:
        path = self.folder / entry.file
        found = sha256_file(path) if path.is_file() else "no file"
        if found != entry.sha256:
            raise PoolCorruptError(f"{path}: expected SHA-256 {entry.sha256}, found {found}. {RESTORE}.")
        transitions = self.read(entry)
        check_values(transitions, entry.first_step, str(path))
        if previous is not None:
            boundary = Transitions.joined([previous, transitions[:1]])
            check_order(boundary, entry.first_step - 1, str(path))
        check_order(transitions, entry.first_step, str(path))
        return transitions
