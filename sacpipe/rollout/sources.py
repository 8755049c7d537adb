"""Sources of bundles on a robot: a folder or a tar file. Both give the bytes of a bundle's files.

Nothing is unpacked to disk and no link of a foreign bundle is followed: the bytes that the load gate checks,
that run and that the store keeps are the bytes that were read here, once. Registries are the other
sources (sacpipe/rollout/registries.py).

The tar reader is our own, not `tarfile`: it reads up to five plain files with short names, and uses nothing
of a header but the name, the size, the kind and the checksum.
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sacpipe.bundle.files import MAX_BYTES, check_names, check_size, read_files, under_rule
from sacpipe.core.errors import BundleError, BundleRule, GateError
from sacpipe.core.files import sha256_bytes


@dataclass(frozen=True, eq=False)
class ResolvedBundle:
    """The bundle that a source names at one moment."""

    digest: str
    """Digest of the bundle, as the source reports it; `pull` compares it."""
    source: str
    """Path, or alias with version, for operators."""
    read: Callable[[], dict[str, bytes]]
    """Reads the files of this bundle by name, even where the source names another bundle meanwhile."""

    def pull(self) -> dict[str, bytes]:
        """Return the bundle's files by name.

        Raises:
            BundleError: they are not the files of a bundle, or of a bundle with another digest.
            StoreError: the source failed.
        """
        files = self.read()
        if (found := sha256_bytes(files["manifest.json"])) != self.digest:
            fault = f"{self.source}: expected bundle {self.digest}, as the source reports, found {found}."
            raise GateError(f"{fault} Its files were changed; register it again.", "digest")
        return files


class Source(Protocol):
    """Names one bundle at a time, such as an alias in a registry. A source of one's own derives from it."""

    def resolve(self) -> ResolvedBundle:
        """Return the bundle that the source names now.

        Raises:
            BundleError: the source names something else than a bundle.
            StoreError: the source failed; StoreUnavailableError where it does not answer.
        """
        ...

    def bars(self, known: Mapping[str, str]) -> dict[str, str]:
        """Return the bars of bundles: digest to who barred it, when and why; empty where it may serve.

        A path bars nothing and lifts no bar. At a start, `resolve` may be called before this returns.

        Args:
            known: The digests that are asked for, each with the bar that the robot knows; empty for none.

        Returns:
            A bundle that the source does not know is missing, and keeps its bar. One that has no bar, and
            none in `known`, may be missing.

        Raises:
            StoreError: the source failed; StoreUnavailableError where it does not answer.
        """
        del known
        return {}


class PathSource(Source):
    """A folder or a tar file that an operator replaces, by a rename so that it is never incomplete.

    Args:
        path: Folder or tar file; a symbolic link is followed.
        allow_hard_links: As for `read_source`.
        follow_cache_links: As for `read_source`.
    """

    def __init__(self, path: Path, *, allow_hard_links: bool, follow_cache_links: bool = False) -> None:
        self._path, self._allow_hard_links = path, allow_hard_links
        self._follow_cache_links = follow_cache_links

    def resolve(self) -> ResolvedBundle:
        """Read the folder or tar file.

        Raises:
            GateError: it does not exist, or is not a bundle.
        """
        files = read_source(
            self._path,
            allow_hard_links=self._allow_hard_links,
            follow_cache_links=self._follow_cache_links,
        )
        # A name that is not UTF-8 can be in neither JSON nor the store: it is shown with escapes.
        name = os.fsencode(self._path.absolute()).decode("utf-8", errors="backslashreplace")
        return ResolvedBundle(sha256_bytes(files["manifest.json"]), name, lambda: files)


_BLOCK_BYTES = 512
_MAX_EXTENSIONS = 2 * len(MAX_BYTES) + 1
_MAX_EXTENSION_BYTES = 2**16
_PLAIN = (b"0", b"\0")
_EXTENSIONS = (b"x", b"g")
_LINKS = {b"1": "a hard link", b"2": "a symbolic link"}
_OTHERS = {
    b"3": "a device",
    b"4": "a device",
    b"5": "a folder",
    b"6": "a pipe",
    b"L": "a long name",
    b"K": "a long link",
    b"S": "a sparse file",
}
_HOW_TO_PACK = (
    "Pack it with `tar -cf BUNDLE.tar -C FOLDER contract.json golden.npz manifest.json policy.onnx`"
)


def read_source(path: Path, *, allow_hard_links: bool, follow_cache_links: bool = False) -> dict[str, bytes]:
    """Read the files of a bundle from a folder or a tar file, by name.

    Args:
        path: Folder or tar file; a symbolic link is followed.
        allow_hard_links: Whether a folder's files may be hard links. DVC's caches make such links: a folder
            of this machine's own pipeline needs True. Give False for a folder that other users write: a
            hard link cannot change the bytes after they were read, but a user who may write the folder and
            may not read a file could learn its digest from a refusal.
        follow_cache_links: Whether a folder's files may be DVC's symbolic links to its cache; only for an
            output of this machine's own project.

    Raises:
        GateError: by the rules `files`, `links` and `size`.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return _read_tar(path)
        return read_files(path, allow_hard_links=allow_hard_links, follow_cache_links=follow_cache_links)
    except OSError as exc:
        fault = f"{path}: expected a bundle's folder or a tar file, found none: {exc}."
        raise GateError(fault, "files") from exc
    except BundleError as exc:
        raise GateError(f"{path}: {exc}", exc.rule or "files") from exc


def _read_tar(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    with path.open("rb") as file:
        for name, size_bytes in _members(file):
            if name not in MAX_BYTES or name in files:
                raise _refuse(f"{name!a}: expected the files of a bundle, each once, found another")
            check_size(name, size_bytes)
            files[name] = _read(file, size_bytes)
    with under_rule("files"):
        check_names(files)
    return files


def _members(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """Walk the plain files of an archive: name and size. The file position is at the member's bytes."""
    num_extensions = 0
    while any(header := _read(file, _BLOCK_BYTES)):
        name, kind, size_bytes = _parse_header(header)
        start = file.tell()
        if kind in _EXTENSIONS:
            # It has times and owners. A name or a size in it is ignored: the plain header counts.
            num_extensions += 1
            if num_extensions > _MAX_EXTENSIONS or size_bytes > _MAX_EXTENSION_BYTES:
                limits = f"{_MAX_EXTENSIONS} extended headers of {_MAX_EXTENSION_BYTES} bytes"
                raise _refuse(f"expected at most {limits}, found more")
        elif kind in _PLAIN:
            yield name, size_bytes
        else:
            what = _LINKS.get(kind) or _OTHERS.get(kind) or f"kind {kind!r}"
            rule: BundleRule = "links" if kind in _LINKS else "files"
            raise _refuse(f"{name!a}: expected a plain file, found {what}", rule)
        file.seek(start + -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES)


def _parse_header(header: bytes) -> tuple[str, bytes, int]:
    """Check a header's checksum and return name, kind and size of its member."""
    blanked = header[:148] + b" " * 8 + header[156:]
    if header[257:262] != b"ustar" or _octal(header[148:156]) != sum(blanked):
        raise _refuse("expected an uncompressed tar archive, found something else")
    name = header[:100].rstrip(b"\0")
    if header[345:500].rstrip(b"\0") and header[257:263] == b"ustar\0":
        name = header[345:500].rstrip(b"\0") + b"/" + name
    return name.decode("ascii", errors="backslashreplace"), header[156:157], _octal(header[124:136])


def _octal(field: bytes) -> int:
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise _refuse("expected an octal number in a header, found something else")
    return int(digits, 8)


def _read(file: BinaryIO, size_bytes: int) -> bytes:
    data = file.read(size_bytes)
    if len(data) != size_bytes:
        raise _refuse("expected a whole tar archive, found one that ends too early")
    return data


def _refuse(fault: str, rule: BundleRule = "files") -> BundleError:
    return BundleError(f"{fault}. {_HOW_TO_PACK}.", rule)
