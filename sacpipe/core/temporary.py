"""Temporary files and folders beside their target. The next write of a target removes what a kill left.

Their writer locks them while it lives, so that no other writer of the same target removes them. Where a file
system has no locks, what a kill left stays.
"""

import contextlib
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def temporary_file(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """Yield a new, open file beside `path`, and its path; remove it after an error.

    Raises:
        OSError: it cannot be made.
    """
    remove_killed(path)
    while True:
        temporary = temporary_name(path)
        try:
            with temporary.open("wb") as file:
                with contextlib.suppress(OSError):
                    fcntl.flock(file, fcntl.LOCK_EX)
                if temporary.exists():  # else another writer removed it before it was locked
                    yield file, temporary
                    return
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a new folder beside `path`, in a folder that exists; remove what is left of it at the end.

    Raises:
        OSError: it cannot be made.
    """
    remove_killed(path)
    while True:
        temporary = temporary_name(path)
        try:
            temporary.mkdir()
            with contextlib.ExitStack() as stack:
                with contextlib.suppress(FileNotFoundError):
                    stack.enter_context(_locked(temporary, wait=True))
                if temporary.exists():  # else another writer removed it before it was locked
                    yield temporary
                    return
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def remove_killed(path: Path, suffix: str = "tmp") -> None:
    """Remove the temporary files and folders of killed writers of `path`, where that is possible."""
    pattern = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.{suffix}")
    with contextlib.suppress(OSError):
        for leftover in [found for found in path.parent.iterdir() if pattern.fullmatch(found.name)]:
            with contextlib.suppress(OSError), _locked(leftover, wait=False) as is_locked:
                if is_locked and leftover.is_dir():
                    shutil.rmtree(leftover)
                elif is_locked:
                    leftover.unlink()


def temporary_name(path: Path, suffix: str = "tmp") -> Path:
    """Return a new path beside `path`, whose name `remove_killed` knows."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")


@contextlib.contextmanager
def _locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Lock what exists and yield whether it is locked. No pipe is waited for, no link followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_locked = True
        except OSError:
            is_locked = False
        yield is_locked
    finally:
        os.close(descriptor)
