"""What a recorder made in a folder: it removes that and nothing else.

A recording is proved by its header, `recording.json`, which is written first and removed last. A folder is
removed file by file and only where every file in it has a name of the format: a foreign file, a link, a pipe
or a device in it leaves the whole folder as it is.
"""

import os
import re
import secrets
import stat
from pathlib import Path

from sacpipe.core.errors import PoolError
from sacpipe.core.files import sync_folder
from sacpipe.replay.pool.manifest import MANIFEST_NAME
from sacpipe.robot.recording.format import HEADER_NAME, POOL_NAME, STEPS_NAME, read_header

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
        hidden = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
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
