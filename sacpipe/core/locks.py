"""A lock file: one process at a time may use a folder. And who has locked one.

Only temporary files have locks of their own: sacpipe/core/temporary.py.
Forty lines instead of the library filelock, because a robot's base install has no further package.
"""

import fcntl
import os
from pathlib import Path
from typing import TextIO

from sacpipe.core.errors import BusyError
from sacpipe.core.files import storage_errors
from sacpipe.core.logging import escape_unprintable


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


def lock_holders(path: Path) -> str:
    """Return the other processes that have locked a file, e.g. `process 12 (sacpipe)`.

    Linux lists the locks of this machine; one of another machine or container is `another process`.
    """
    try:
        status, locks = path.stat(), Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return "another process"
    file = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    fields = [line.split() for line in locks if "->" not in line]  # an arrow is a process that waits
    found = sorted({int(one[4]) for one in fields if len(one) > 5 and one[5] == file})
    return ", ".join(_process(pid) for pid in found if pid > 0 and pid != os.getpid()) or "another process"


def _process(pid: int) -> str:
    """Return a process by its number and name. Its arguments may hold a password and are not shown."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return f"process {pid}"
    return f"process {pid} ({escape_unprintable(name)})"
