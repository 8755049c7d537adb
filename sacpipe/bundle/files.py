"""Reads the files of an untrusted bundle folder: names, file types and sizes are checked."""

import contextlib
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from sacpipe.bundle.canonical_json import FETCH_AGAIN
from sacpipe.core.errors import BundleError, BundleRule
from sacpipe.core.files import sha256_bytes

MAX_BYTES = {
    "manifest.json": 2**16,
    "manifest.sig": 2**10,
    "contract.json": 2**20,
    "golden.npz": 2**26,
    "policy.onnx": 2**28,
}
"""Largest allowed size in bytes of each file, by name."""

SIGNATURE_NAME = "manifest.sig"

REQUIRED = MAX_BYTES.keys() - {SIGNATURE_NAME}
"""Names of the files that every bundle has."""


def bundle_digest(folder: Path) -> str:
    """Return the SHA-256 of a bundle's manifest.json, without checking the other files.

    Raises:
        BundleError: manifest.json is missing or cannot be read.
    """
    with _opened(folder) as descriptor:
        return sha256_bytes(_read_file(descriptor, "manifest.json"))


def read_files(folder: Path, *, allow_hard_links: bool = True) -> dict[str, bytes]:
    """Read the files of a bundle, by name. Names, file types and sizes are checked; contents are not.

    The folder is opened once, so all files are from one bundle even if the folder is replaced meanwhile.

    Args:
        folder: Folder of the bundle.
        allow_hard_links: Whether a file may have further names, as files in DVC's cache do.

    Raises:
        BundleError: a file is missing, unexpected, not a plain file, too large, or cannot be read.
    """
    with under_rule("files"), _opened(folder) as descriptor:
        entries = sorted(os.scandir(descriptor), key=lambda entry: entry.name)
        check_names([entry.name for entry in entries])
        with under_rule("links"):
            for entry in entries:
                _check_plain(entry, allow_hard_links=allow_hard_links)
        return {entry.name: _read_file(descriptor, entry.name) for entry in entries}


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
            f"{entry.name}: expected a file with one name, found a hard link with {num_names}. "
            "Copy the file itself."
        )
    if not entry.is_file(follow_symlinks=False):
        found = "a link" if entry.is_symlink() else "something else"
        raise BundleError(f"{entry.name}: expected a plain file, found {found}. Copy the file itself.")


def _read_file(folder: int, name: str) -> bytes:
    """Read a plain file of at most its allowed size. Links are not followed; a pipe does not block."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                fault = "expected a plain file, found something else"
                raise BundleError(f"{name}: {fault}. {FETCH_AGAIN}", "links")
            check_size(name, status.st_size)
            return file.read(status.st_size)
    except OSError as exc:
        raise BundleError(f"{name}: cannot be read: {exc}. {FETCH_AGAIN}", "files") from exc
