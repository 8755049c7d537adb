"""The folder of a robot's recordings: one recorder at a time; above a size limit, the oldest are removed."""

import re
import shutil
import time
from pathlib import Path

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, PoolError
from sacpipe.core.files import make_folder, remove_leftovers, storage_errors
from sacpipe.core.locks import hold
from sacpipe.robot.recording.format import HEADER_NAME, Recording, transition_bytes
from sacpipe.robot.recording.writer import RecordingWriter
from sacpipe.specs.env_spec import EnvSpec

_HEADERS_BYTES = 1 << 16
"""Size reserved for a recording's JSON files."""
_SEGMENT_BYTES = 1 << 11
"""Size reserved for a segment's own header and its JSON entry."""
_NAME = re.compile(r"recording-(\d{6,})")


class RecorderSettings(Config):
    """Limits of what is kept, and of what a kill may cost."""

    max_bytes: int = Field(ge=1)
    """Maximum size of all recordings in the folder together, in bytes."""
    recording_transitions: int = Field(ge=1)
    """Number of transitions after which the next recording starts."""
    segment_transitions: int = Field(ge=1)
    """Number of transitions in one sealed segment of a pool."""
    flush_s: float = Field(gt=0)
    """Time between two syncs to disk, in seconds: a kill costs at most so much."""


class RecordingsFolder:
    """Recordings `recording-000001`, `recording-000002` and so on. Opening closes unfinished recordings.

    Args:
        folder: Created where it does not exist.
        spec: Terms and bounds of the task that will be recorded.
        settings: Limits of what is kept.

    Raises:
        BusyError: another recorder has the folder.
        ConfigError: a single recording may be larger than `max_bytes`.
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, spec: EnvSpec, settings: RecorderSettings) -> None:
        self._folder, self._spec, self._settings = folder, spec, settings
        # While the open segment is sealed, it is on disk twice: in its journal and in its file.
        num_rows = settings.recording_transitions + settings.segment_transitions
        num_segments = 1 + settings.recording_transitions // settings.segment_transitions
        self._largest_bytes = (
            _HEADERS_BYTES + _SEGMENT_BYTES * num_segments + transition_bytes(spec) * num_rows
        )
        if self._largest_bytes > settings.max_bytes:
            raise ConfigError(
                f"max_bytes: expected at least {self._largest_bytes}, the size that one recording of "
                f"{settings.recording_transitions} transitions may have, found {settings.max_bytes}. Allow "
                "more, or make recordings shorter."
            )
        with storage_errors(folder):
            make_folder(folder)
        busy = f"{folder}: another recorder has it. Stop that one, or choose another folder."
        self._lock = hold(folder / ".lock", busy)
        try:
            with storage_errors(folder):
                self._close_unfinished()
        except BaseException:
            self._lock.close()
            raise

    def begin(self) -> RecordingWriter:
        """Remove old recordings until there is room for one more, and start it.

        Raises:
            StorageError: the folder cannot be written.
        """
        kept = self._recordings()
        number = 1 + max((_number(path) for path in kept), default=0)
        with storage_errors(self._folder):
            sizes = [_size_bytes(path) for path in kept]
            while kept and sum(sizes) + self._largest_bytes > self._settings.max_bytes:
                sizes.pop(0)
                _remove(kept.pop(0))
        path = self._folder / f"recording-{number:06d}"
        return RecordingWriter.create(path, self._spec, self._settings.segment_transitions, time.time())

    def end(self, writer: RecordingWriter, dropped: int) -> None:
        """Close a recording; remove it where it has no transition.

        Args:
            writer: Writes the recording.
            dropped: Number of steps that were dropped so far, for the header.

        Raises:
            StorageError: the disk is full. The next recorder of the folder closes the recording.
        """
        writer.close(dropped)
        if not writer.transitions:
            with storage_errors(self._folder):
                _remove(writer.folder)

    def close(self) -> None:
        """Release the folder for another recorder."""
        self._lock.close()

    def _recordings(self) -> list[Path]:
        folders = (path for path in self._folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())
        return sorted(folders, key=_number)

    def _close_unfinished(self) -> None:
        remove_leftovers(self._folder)
        for path in self._folder.glob(".*.tmp"):
            shutil.rmtree(path)
        for path in self._recordings():
            if not (path / HEADER_NAME).exists():  # the recorder was killed while it created this one
                _remove(path)
                continue
            try:
                Recording.open(path)
            except PoolError:
                _close(path)


def _close(folder: Path) -> None:
    """Close a recording whose recorder was killed. Remove an empty one; leave a damaged one as it is."""
    try:
        writer = RecordingWriter.resume(folder)
    except PoolError:
        return
    if writer.transitions:
        writer.close()
    else:
        _remove(folder)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _remove(folder: Path) -> None:
    hidden = folder.with_name(f".{folder.name}.tmp")
    folder.rename(hidden)
    shutil.rmtree(hidden)


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
