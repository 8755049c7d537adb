"""A lock file: one process at a time may use a folder. No other module locks a file.

Forty lines instead of the library filelock, because a robot's base install has no further package.
"""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from sacpipe.core.errors import BusyError
from sacpipe.core.files import storage_errors


def hold(path: Path, busy: str | None = None) -> TextIO:
    """Lock a file and return it; the lock ends when the file is closed or the process ends.

    Args:
        path: The lock file, made if it is missing. Its folder must exist.
        busy: Message of the BusyError; None waits for the process that has the lock.

    Raises:
        BusyError: another process has the lock.
        StorageError: the folder cannot be written.
    """
    with storage_errors(path.parent):
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX if busy is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as exc:
        lock.close()
        if isinstance(exc, BlockingIOError):
            raise BusyError(busy) from exc
        raise
    return lock
