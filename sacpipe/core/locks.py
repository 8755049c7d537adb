"""A folder that one process at a time has open."""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from sacpipe.core.errors import BusyError
from sacpipe.core.files import storage_errors


def hold(path: Path, busy: str) -> TextIO:
    """Lock a file until it is closed; the operating system closes it when the process ends, however it ends.

    Args:
        path: Made where there is none, in a folder that exists.
        busy: What the error says.

    Raises:
        BusyError: another process holds it.
        StorageError: the folder cannot be written.
    """
    with storage_errors(path.parent):
        lock = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException as exc:
        lock.close()
        if isinstance(exc, BlockingIOError):
            raise BusyError(busy) from exc
        raise
    return lock
