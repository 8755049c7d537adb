"""A lock file: one process at a time may use a folder."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from sacpipe.core.errors import BusyError
from sacpipe.core.files import storage_errors


def hold(path: Path, busy: str) -> TextIO:
    """Lock a file and return it; the lock ends when the file is closed or the process ends.

    Args:
        path: The lock file, made if it is missing. Its folder must exist.
        busy: Message of the BusyError.

    Raises:
        BusyError: another process has the lock.
        StorageError: the folder cannot be written.
    """
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as exc:
        lock.close()
        if isinstance(exc, BlockingIOError):
            raise BusyError(busy) from exc
        raise
    return lock


def wait_for(path: Path) -> TextIO:
    """Lock a file as `hold` does, after the process that has the lock has ended it.

    Raises:
        StorageError: the folder cannot be written.
    """
    lock = _open(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
    except BaseException:
        lock.close()
        raise
    return lock


def _open(path: Path) -> TextIO:
    with storage_errors(path.parent):
        return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
