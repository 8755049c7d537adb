"""The folder of a robot's recordings: one recorder at a time; above a size limit, the oldest are removed.

Nothing is removed that a recorder did not make. A recording is proved by its header, `recording.json`, which
is written first and removed last. A folder is removed file by file, only where every file in it has a name
of the format. A foreign file, a link, a pipe or a device in it leaves the whole folder as it is. Below a
floor of free space, nothing is recorded.
"""

import os
import re
import stat
import time
from pathlib import Path

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError, PoolError, StorageError
from sacpipe.core.files import canonical_json, make_folder, storage_errors, sync_folder
from sacpipe.core.locks import hold
from sacpipe.core.logging import report_line
from sacpipe.core.temporary import temporary_name
from sacpipe.replay.pool.manifest import MANIFEST_NAME
from sacpipe.robot.recording.format import (
    HEADER_NAME,
    POOL_NAME,
    STEPS_NAME,
    Recording,
    read_header,
    transition_bytes,
)
from sacpipe.robot.recording.writer import RecordingWriter
from sacpipe.specs.env_spec import EnvSpec

_HEADERS_BYTES = 1 << 16
"""Size reserved for a recording's JSON files, without the task's specification."""
_COPIES_OF_SPEC = 4
"""Copies of the specification, indented, in the headers of recording and pool, for which size is reserved."""
_SEGMENT_BYTES = 1 << 11
"""Size reserved for a segment's own header and its JSON entry."""
_IMAGE_BYTES = 1 << 9
"""Size reserved for the fields of an image term in a segment's header."""
_LOCK_NAME = ".lock"
_RESUME_SHARE = 1.25
"""Free space at which recording resumes, as a multiple of the floor."""
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
    min_free_bytes: int = Field(default=1 << 28, ge=0)
    """Free space on the disk, in bytes, below which recording pauses; other programs need it."""


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
        self._left_alone: set[Path] = set()
        """What was reported as not made by a recorder."""
        # While the open segment is sealed, it is on disk twice: in its journal and in its file.
        num_rows = settings.recording_transitions + settings.segment_transitions
        num_segments = 1 + settings.recording_transitions // settings.segment_transitions
        headers_bytes = _HEADERS_BYTES + _COPIES_OF_SPEC * len(canonical_json(spec.as_tree()))
        segment_bytes = _SEGMENT_BYTES + _IMAGE_BYTES * len(spec.layout.image_terms)
        self._largest_bytes = headers_bytes + segment_bytes * num_segments + transition_bytes(spec) * num_rows
        if self._largest_bytes > settings.max_bytes:
            raise ConfigError(
                f"max_bytes: expected at least {self._largest_bytes}, the size that one recording of "
                f"{settings.recording_transitions} transitions may have, found {settings.max_bytes}. Allow "
                "more, or make recordings shorter."
            )
        with storage_errors(folder):
            make_folder(folder)
        busy = f"{folder}: another recorder has it. Stop that one, or choose another folder."
        self._lock = hold(folder / _LOCK_NAME, busy)
        try:
            with storage_errors(folder):
                self._close_unfinished()
        except BaseException:
            self._lock.close()
            raise

    def check_room(self, *, is_paused: bool) -> None:
        """Check that the folder is where it was and that the disk has room.

        Args:
            is_paused: Whether recording is paused: then it takes more free space, so that it does not resume
                for a moment.

        Raises:
            StorageError: the folder was moved or removed, or less space is free than the floor.
        """
        floor = self._settings.min_free_bytes
        with storage_errors(self._folder):
            lock = (self._folder / _LOCK_NAME).stat()
            is_same = os.path.samestat(lock, os.fstat(self._lock.fileno()))
            disk = os.statvfs(self._folder)
        if not is_same:
            raise StorageError(
                f"cannot write {self._folder}: another folder took its place. Start a new recorder."
            )
        wanted = max(round(floor * _RESUME_SHARE), floor + self._largest_bytes) if is_paused else floor
        if (free := disk.f_bavail * disk.f_frsize) < wanted:
            raise StorageError(
                f"cannot write {self._folder}: expected at least {wanted} bytes of free space, found {free}. "
                "Recording is paused; free some space, or lower min_free_bytes."
            )

    def begin(self, *, has_term_stamps: bool = False) -> RecordingWriter:
        """Remove old recordings until there is room for one more, and start it.

        Args:
            has_term_stamps: Whether the stamp of each term is recorded.

        Raises:
            StorageError: the folder cannot be written, or other files use up `max_bytes`.
        """
        with storage_errors(self._folder):
            number = 1 + max((_number(path) for path in self._paths_with_its_name()), default=0)
            kept = self._recordings()
            sizes = {path: size_bytes(path) for path in kept}
            for path in kept:
                if sum(sizes.values()) + self._largest_bytes <= self._settings.max_bytes:
                    break
                if self._is_own(path):
                    remove_recording(path)
                    del sizes[path]
        if (used := sum(sizes.values())) + self._largest_bytes > self._settings.max_bytes:
            raise StorageError(
                f"cannot write {self._folder}: recordings with files of another program use {used} of "
                f"{self._settings.max_bytes} bytes (max_bytes). Move them away."
            )
        path = self._folder / f"recording-{number:06d}"
        return RecordingWriter.create(
            path,
            self._spec,
            self._settings.segment_transitions,
            time.time(),
            has_term_stamps=has_term_stamps,
        )

    def resume_or_leave(self, folder: Path) -> None:
        """Close a recording whose writer failed, where that is possible; the next recorder tries again.

        Raises:
            StorageError: the folder cannot be written.
        """
        with storage_errors(self._folder):
            if folder.exists() and self._is_own(folder):
                _close(folder)

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
                remove_recording(writer.folder)

    def close(self) -> None:
        """Release the folder for another recorder."""
        self._lock.close()

    def _paths_with_its_name(self) -> list[Path]:
        """Return what has the name of a recording, whatever it is, in the order of the numbers."""
        return sorted((path for path in self._folder.iterdir() if _NAME.fullmatch(path.name)), key=_number)

    def _recordings(self) -> list[Path]:
        return [path for path in self._paths_with_its_name() if path.is_dir() and not path.is_symlink()]

    def _is_own(self, path: Path) -> bool:
        """Return whether a recorder made a folder and all of it; report once where it did not."""
        try:
            foreign = find_foreign(path)
        except OSError as exc:
            foreign = f"one that cannot be read: {exc}"
        if foreign is not None and path not in self._left_alone:
            self._left_alone.add(path)
            report_line(f"{path}: left as it is: expected files of a recorder, found {foreign}.")
        return foreign is None

    def _close_unfinished(self) -> None:
        for path in sorted(self._folder.iterdir()):
            if REMOVED.fullmatch(path.name) and self._is_own(path):
                remove_recording(path)
            elif _NAME.fullmatch(path.name) and self._is_own(path):
                if not (path / HEADER_NAME).exists():  # the recorder was killed while it created this one
                    remove_recording(path)
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
        remove_recording(folder)


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


_TEMPORARY = r"\.(?:{})\.[0-9a-f]{{8}}\.tmp"
_POOL_FILES = rf"{re.escape(MANIFEST_NAME)}|segment-\d{{10,}}\.safetensors|journal-\d{{10,}}\.bin"
_POOL_FILE = re.compile(f"{_POOL_FILES}|{_TEMPORARY.format(_POOL_FILES)}")
_FILES = f"{re.escape(HEADER_NAME)}|{re.escape(STEPS_NAME)}"
_FILE = re.compile(f"{_FILES}|{_TEMPORARY.format(_FILES)}")
_FILE_BUT_HEADER = re.compile(f"{re.escape(STEPS_NAME)}|{_TEMPORARY.format(_FILES)}")
_UNBORN = re.compile(_TEMPORARY.format(re.escape(HEADER_NAME)))
"""Name of a header that was being written when the recorder was killed."""
_HEADER_START = b'{\n  "began_unix_s": '
REMOVED = re.compile(r"\.recording-\d{6,}(?:\.[0-9a-f]{8})?\.tmp")
"""Name of a recording that is being removed."""


def find_foreign(folder: Path) -> str | None:
    """Return what shows that not all of a folder is a recorder's; None where all of it is.

    Args:
        folder: A recording, unfinished or not, or what a killed recorder left of one.

    Raises:
        OSError: the folder cannot be read.
    """
    if not _is_folder(folder):
        return "no folder"
    paths = sorted(folder.iterdir())
    for path in paths:
        foreign = _find_foreign_file(path)
        if foreign is not None:
            return foreign
    if folder / HEADER_NAME in paths:
        try:
            read_header(folder)
        except PoolError as exc:
            return f"a {HEADER_NAME} of something else: {exc}"
    elif paths and not (len(paths) == 1 and _is_unborn(paths[0])):
        return f"{paths[0].name} and no {HEADER_NAME}"
    return None


def remove_recording(folder: Path) -> None:
    """Remove what `find_foreign` found to be a recorder's. A killed call is finished by the next recorder.

    Raises:
        OSError: a file cannot be removed, or a foreign one came meanwhile; the rest of the folder stays.
    """
    hidden = folder
    if not REMOVED.fullmatch(folder.name):
        hidden = temporary_name(folder)
        folder.rename(hidden)
    pool = hidden / POOL_NAME
    if _is_folder(pool):
        _remove_files(pool, _POOL_FILE)
        pool.rmdir()
    _remove_files(hidden, _FILE_BUT_HEADER)
    (hidden / HEADER_NAME).unlink(missing_ok=True)
    hidden.rmdir()
    sync_folder(hidden.parent)


def size_bytes(folder: Path) -> int:
    """Return the size of all plain files below a folder. No link is followed.

    Raises:
        OSError: a file cannot be examined.
    """
    statuses = [(Path(parent) / name).lstat() for parent, _, names in os.walk(folder) for name in names]
    return sum(status.st_size for status in statuses if stat.S_ISREG(status.st_mode))


def _find_foreign_file(path: Path) -> str | None:
    """Return the name of a file, or of one in the pool's folder, that a recorder did not make."""
    if path.name == POOL_NAME and _is_folder(path):
        foreign = (one.name for one in sorted(path.iterdir()) if not _is_own(one, _POOL_FILE))
        return next((f"{POOL_NAME}/{name}" for name in foreign), None)
    return None if _is_own(path, _FILE) else path.name


def _remove_files(folder: Path, names: re.Pattern[str]) -> None:
    for path in folder.iterdir():
        if names.fullmatch(path.name):
            path.unlink()


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_own(path: Path, names: re.Pattern[str]) -> bool:
    return names.fullmatch(path.name) is not None and stat.S_ISREG(path.lstat().st_mode)


def _is_unborn(path: Path) -> bool:
    """Return whether a file is the beginning of a header, as a killed recorder leaves it."""
    if not _UNBORN.fullmatch(path.name):
        return False
    with path.open("rb") as file:
        start = file.read(len(_HEADER_START))
    return _HEADER_START.startswith(start)
