"""Reads the files of an untrusted bundle folder: names, file types and sizes are checked.

A symbolic link is refused, with one exception for a project's own output: DVC may make each file a link to
the object of its cache, whose name is the MD5 of its bytes.
"""

import contextlib
import hashlib
import os
import re
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from sacpipe.bundle.canonical_json import FETCH_AGAIN
from sacpipe.core.errors import BundleError, BundleRule
from sacpipe.core.files import sha256_bytes

MAX_BYTES = {
    "manifest.json": 2**16,
    "manifest.sig": 2**10,
    "model.sig": 2**14,
    "contract.json": 2**20,
    "golden.npz": 2**26,
    "policy.onnx": 2**28,
}
"""Largest allowed size in bytes of each file, by name."""

SIGNATURE_NAME, MODEL_SIGNATURE_NAME = "manifest.sig", "model.sig"

_COPY = "Copy the folder with `cp -rL`, which copies what its links name."

REQUIRED = MAX_BYTES.keys() - {SIGNATURE_NAME, MODEL_SIGNATURE_NAME}
"""Names of the files that every bundle has."""


_CACHE_OBJECT = re.compile(r"/files/md5/([0-9a-f]{2})/([0-9a-f]{30})\Z")
"""End of the path of an object in a DVC cache: the MD5 of its bytes."""


def bundle_digest(folder: Path, *, follow_cache_links: bool = False) -> str:
    """Return the SHA-256 of a bundle's manifest.json, without checking the other files.

    Args:
        folder: Folder of the bundle.
        follow_cache_links: As for `read_files`.

    Raises:
        BundleError: manifest.json is missing or cannot be read.
    """
    with _opened(folder) as descriptor:
        return sha256_bytes(_read_file(descriptor, "manifest.json", follow_cache_links))


def read_files(
    folder: Path, *, allow_hard_links: bool = True, follow_cache_links: bool = False
) -> dict[str, bytes]:
    """Read the files of a bundle, by name. Names, file types and sizes are checked; contents are not.

    The folder is opened once, so all files are from one bundle even if the folder is replaced meanwhile.

    Args:
        folder: Folder of the bundle.
        allow_hard_links: Whether a file may have further names, as files in DVC's cache do.
        follow_cache_links: Whether a file may be a symbolic link to an object of a DVC cache whose name is
            the MD5 of the bytes. Give True only for an output of this machine's own project: DVC made it.

    Raises:
        BundleError: a file is missing, unexpected, not a plain file, too large, or cannot be read.
    """
    with under_rule("files"), _opened(folder) as descriptor:
        entries = sorted(os.scandir(descriptor), key=lambda entry: entry.name)
        check_names([entry.name for entry in entries])
        with under_rule("links"):
            for entry in entries:
                if not (follow_cache_links and entry.is_symlink()):
                    _check_plain(entry, allow_hard_links=allow_hard_links)
        return {entry.name: _read_file(descriptor, entry.name, follow_cache_links) for entry in entries}


def check_names(names: Collection[str]) -> None:
    """Check that every file of a bundle is there, and no other file.

    Raises:
        BundleError: a file is missing or unexpected; the message has its name.
    """
    for name in sorted(names):
        if name not in MAX_BYTES:
            shown = name if name.isprintable() else ascii(name)
            raise BundleError(f"{shown}: expected no such file in a bundle. {FETCH_AGAIN}")
    if missing := sorted(REQUIRED - set(names)):
        raise BundleError(f"{', '.join(missing)}: missing. {FETCH_AGAIN}")


def check_size(name: str, size_bytes: int) -> None:
    """Check that a file of a bundle is at most as large as `MAX_BYTES` allows.

    Raises:
        BundleError: the file is too large; the message has its name.
    """
    if size_bytes > MAX_BYTES[name]:
        fault = f"expected at most {MAX_BYTES[name]} bytes, found {size_bytes}"
        raise BundleError(f"{name}: {fault}. {FETCH_AGAIN}", "size")


@contextlib.contextmanager
def under_rule(rule: BundleRule) -> Iterator[None]:
    """Set `rule` on every BundleError that has no rule yet."""
    try:
        yield
    except BundleError as exc:
        exc.rule = exc.rule or rule
        raise


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as exc:
        raise BundleError(f"expected a folder of {len(REQUIRED)} files, found none: {exc}.") from exc
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _check_plain(entry: os.DirEntry[str], *, allow_hard_links: bool) -> None:
    num_names = entry.stat(follow_symlinks=False).st_nlink
    if not allow_hard_links and entry.is_file(follow_symlinks=False) and num_names > 1:
        raise BundleError(
            f"{entry.name}: expected a file with one name, found a hard link with {num_names}. {_COPY}"
        )
    if not entry.is_file(follow_symlinks=False):
        found = "a link" if entry.is_symlink() else "something else"
        raise BundleError(f"{entry.name}: expected a plain file, found {found}. {_COPY}")


def _read_file(folder: int, name: str, follow_cache_links: bool) -> bytes:
    """Read a file of at most its allowed size. No link is followed but DVC's; a pipe does not block."""
    target = _link_target(folder, name) if follow_cache_links else None
    if target is None:
        return _read_plain(folder, name, name)
    expected = _CACHE_OBJECT.search(target)
    if expected is None:
        raise BundleError(
            f"{name}: expected a plain file or DVC's link to its cache, found another link. {_COPY}", "links"
        )
    data = _read_plain(folder, target, name)
    found = hashlib.md5(data, usedforsecurity=False).hexdigest()
    if found != "".join(expected.groups()):
        fault = f"expected the bytes that its link to DVC's cache names, found others, of MD5 {found}"
        raise BundleError(f"{name}: {fault}. `dvc checkout --force` restores the file.", "links")
    return data


def _link_target(folder: int, name: str) -> str | None:
    """Return the path that a symbolic link holds; None where there is no link."""
    try:
        return os.readlink(name, dir_fd=folder)
    except OSError:
        return None


def _read_plain(folder: int, path: str, name: str) -> bytes:
    """Read a plain file, `name` of a bundle, at a path that is absolute or relative to the folder."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                fault = "expected a plain file, found something else"
                raise BundleError(f"{name}: {fault}. {FETCH_AGAIN}", "links")
            check_size(name, status.st_size)
            return file.read(status.st_size)
    except OSError as exc:
        raise BundleError(f"{name}: cannot be read: {exc}. {FETCH_AGAIN}", "files") from exc
