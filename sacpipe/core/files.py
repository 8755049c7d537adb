"""Atomic writes, digests and strict JSON: all of sacpipe writes its files through this module.

After a crash, a file has its old content or its new content, never a part of one. The bytes are
written to a temporary file beside the target and synced; the temporary file is renamed to the target;
then the folder is synced. What a kill left of a temporary file, the next write of the same target removes.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sacpipe.core.errors import SacpipeError, StorageError
from sacpipe.core.temporary import temporary_file


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn an OSError raised while writing at `path` into a StorageError.

    Raises:
        StorageError: the disk is full, the folder is read-only, or permission is missing.
    """
    try:
        yield
    except OSError as exc:
        reason = {
            errno.ENOSPC: "the disk is full; free some space and run the command again",
            errno.EDQUOT: "the disk quota is used up; free some space and run the command again",
            errno.EFBIG: "the file exceeds the size limit of this process or disk; raise it and run again",
            errno.EACCES: "permission is missing; make the folder writable for this user",
            errno.EPERM: "permission is missing; make the folder writable for this user",
            errno.EROFS: "the file system is read-only; choose another folder",
            errno.ENOTDIR: "a file exists where a folder is needed; move the file away",
            errno.EEXIST: "a file exists where a folder is needed; move the file away",
        }.get(exc.errno or 0, f"{(exc.strerror or str(exc)).lower()}; choose another place")
        raise StorageError(f"cannot write {path}: {reason}. Existing files are unchanged.") from exc


def write_bytes(path: Path, data: bytes, *, makes_folder: bool = True) -> None:
    """Write a whole file atomically and durably.

    Args:
        path: The file.
        data: Its bytes.
        makes_folder: Whether a missing folder is made; not by a writer whose folder may be moved away
            meanwhile, because another one may be in its place.

    Raises:
        StorageError: the disk is full or the folder cannot be written.
    """
    with storage_errors(path):
        if makes_folder:
            make_folder(path.parent)
        with temporary_file(path) as (file, temporary):
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        sync_folder(path.parent)


def make_folder(folder: Path) -> None:
    """Make a folder and its missing parents, and sync them: they survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for path in reversed(missing):
        sync_folder(path.parent)


def check_writable(folder: Path) -> None:
    """Write and remove a file in a folder, which is made where it is missing.

    Raises:
        StorageError: the folder cannot be written.
    """
    write_bytes(folder / ".writable", b"")
    (folder / ".writable").unlink(missing_ok=True)  # another process may check the same folder


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files of interrupted writes; no other process may be writing in the folder."""
    for path in folder.glob(".*.tmp"):
        if path.is_file():
            path.unlink()


def copy_file(source: Path, target: Path) -> None:
    """Copy the bytes of a file durably. Not atomic: a kill can leave a part of them at `target`.

    An existing target is removed first: it may be a link to DVC's cache, and its bytes would change there.
    """
    target.unlink(missing_ok=True)
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync a folder, so that a rename in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_bytes(path, text.encode())


def canonical_json(value: Any) -> str:
    """Return the canonical JSON text of a value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, value: Any, *, makes_folder: bool = True) -> None:
    """Write a value as indented, key-sorted JSON; numbers keep their full precision. See `write_bytes`."""
    text = json.dumps(value, sort_keys=True, indent=2, allow_nan=False) + "\n"
    write_bytes(path, text.encode(), makes_folder=makes_folder)


def read_regular_file(path: Path, max_bytes: int | None = None) -> bytes:
    """Read a whole regular file. Links are followed; a pipe or a device is refused without waiting for it.

    Raises:
        OSError: it is missing, is no regular file, is larger than `max_bytes`, or cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "expected a regular file, found something else", str(path))
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(-1 if max_bytes is None else max_bytes + 1)
        if max_bytes is not None and len(data) > max_bytes:
            raise OSError(errno.EFBIG, f"expected at most {max_bytes} bytes, found more", str(path))
        return data
    finally:
        os.close(descriptor)


def read_json(path: Path, error: type[SacpipeError], max_bytes: int | None = None) -> Any:
    """Read strict JSON.

    Raises:
        error: the file is missing, larger than `max_bytes`, not JSON, or holds NaN or Infinity.
    """

    def refuse(token: str) -> None:
        raise ValueError(f"{token} is not a JSON number")

    try:
        return json.loads(read_regular_file(path, max_bytes).decode(), parse_constant=refuse)
    except FileNotFoundError as exc:
        raise error(f"{path} is missing.") from exc
    except (OSError, ValueError, RecursionError) as exc:
        raise error(f"{path} cannot be read as JSON: {exc}.") from exc


def sha256_bytes(data: bytes) -> str:
    """Return the lower-case hexadecimal SHA-256 of some bytes."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the lower-case hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
