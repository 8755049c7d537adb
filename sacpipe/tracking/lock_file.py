"""A lock of one policy's release commands: a file beside a plain folder or an SQLite database."""

import contextlib
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from sacpipe.core.errors import BusyError, StorageError, StoreError
from sacpipe.core.files import make_folder, storage_errors
from sacpipe.core.locks import hold

_LOOKS, _BETWEEN_LOOKS_S = 100, 0.01


def this_process() -> str:
    """Return the process as others see it in the message that it holds a lock."""
    return f"process {os.getpid()} on {socket.gethostname()}"


def busy_message(name: str, holder: str, lock: str) -> str:
    """Return the message of the BusyError where another release command holds a lock.

    Args:
        name: Registered name of the policy.
        holder: The process that holds the lock.
        lock: The lock: a file, or a database without its password.
    """
    return f"policy '{name}': another release command holds {lock}: {holder}. Wait until it ends, or stop it."


@contextlib.contextmanager
def exclude_by_file(path: Path, name: str) -> Iterator[bool]:
    """Hold a lock file while the block runs; the file then names this process.

    Args:
        path: The lock file; its folder is made where it is missing.
        name: Registered name of the policy.

    Raises:
        BusyError: another process holds it.
        StoreError: it cannot be written.
    """
    try:
        with storage_errors(path.parent):
            make_folder(path.parent)
        lock = hold(path, "busy")
    except StorageError as exc:
        raise StoreError(str(exc)) from exc
    except BusyError as exc:
        raise BusyError(busy_message(name, _holder(path), f"the lock {path}")) from exc
    with lock:
        lock.truncate(0)
        lock.write(f"{this_process()}\n")
        lock.flush()
        try:
            yield True
        finally:
            lock.truncate(0)


def _holder(path: Path) -> str:
    """Return the process that a lock file names. It writes its name right after it has taken the lock."""
    for _ in range(_LOOKS):
        if found := path.read_text(encoding="utf-8", errors="replace").strip():
            return found
        time.sleep(_BETWEEN_LOOKS_S)
    return "a process that has ended meanwhile"
