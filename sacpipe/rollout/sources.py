"""Where a robot gets bundles from: a folder, or a tar file. Either gives the bytes of a bundle's files.

Nothing is unpacked on disk and no other file is followed: what the gate judges, what runs and what
the store keeps are the bytes that were read here, once. The third place, MLflow's registry, has a page
of its own (sacpipe/rollout/mlflow_source.py); all of them are a `Source`.

The tar reader is this page, and not `tarfile`, because it has to know one thing only: up to five plain
files with short names. Of the headers it believes the name, the size, the kind and the checksum.
"""

import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from sacpipe.bundle.files import MAX_BYTES, check_names, check_size, read_files, under_rule
from sacpipe.core.errors import BundleError, BundleRule, GateError
from sacpipe.core.files import sha256_bytes


@dataclass(frozen=True, eq=False)
class ResolvedBundle:
    """The bundle that a source names now."""

    digest: str
    """Of the bundle, as the source says."""
    source: str
    """Where it comes from, for people: a path, or an alias with its version."""
    read: Callable[[], dict[str, bytes]]
    """Gives this one's files, by name, whatever the source names meanwhile."""

    def pull(self) -> dict[str, bytes]:
        """Return the files, by name.

        Raises:
            BundleError: they are not those of a bundle, or of another one.
            StoreError: the source failed.
        """
        files = self.read()
        if (found := sha256_bytes(files["manifest.json"])) != self.digest:
            fault = f"{self.source}: expected bundle {self.digest}, as its source says, found {found}."
            raise GateError(f"{fault} Its files were changed; register it again.", "digest")
        return files


class Source(Protocol):
    """Where bundles come from, one after the other."""

    def resolve(self) -> ResolvedBundle:
        """Say which bundle is named now.

        Raises:
            BundleError: what is named is none.
            StoreError: the source failed; StoreUnavailableError where it does not answer.
        """
        ...


class PathSource:
    """A folder or a tar file that somebody replaces. Replace it whole, by a rename.

    Args:
        path: May be reached through a link.
        allow_hard_links: As of `read_source`.
    """

    def __init__(self, path: Path, *, allow_hard_links: bool) -> None:
        self._path, self._allow_hard_links = path, allow_hard_links

    def resolve(self) -> ResolvedBundle:
        """Read what stands there now.

        Raises:
            GateError: nothing, or no bundle.
        """
        files = read_source(self._path, allow_hard_links=self._allow_hard_links)
        return ResolvedBundle(sha256_bytes(files["manifest.json"]), str(self._path.absolute()), lambda: files)


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


def read_source(path: Path, *, allow_hard_links: bool) -> dict[str, bytes]:
    """Read the files of a bundle from a folder or a tar file, by name.

    Args:
        path: May be reached through a link.
        allow_hard_links: Whether files of a folder may have other names elsewhere. DVC and its caches
            make such files, so a folder of this machine's own pipeline needs it; for a folder that
            somebody else writes, say False. A hard link cannot change the bytes after they were read, but
            who may write a folder and not read a file could have its digest told by a refusal.

    Raises:
        GateError: by the rules `files`, `links` and `size`.
    """
    try:
        if stat.S_ISREG(path.stat().st_mode):
            return _read_tar(path)
        return read_files(path, allow_hard_links=allow_hard_links)
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
    """Walk the plain files of an archive: name and size. Each time the file stands at the member's bytes."""
    num_extensions = 0
    while any(header := _read(file, _BLOCK_BYTES)):
        name, kind, size_bytes = _parse_header(header)
        beginning = file.tell()
        if kind in _EXTENSIONS:
            # Times and owners, mostly. Could it name another file or size: the plain header is what counts.
            num_extensions += 1
            if num_extensions > _MAX_EXTENSIONS or size_bytes > _MAX_EXTENSION_BYTES:
                raise _refuse("expected few and short extended headers, found more")
        elif kind in _PLAIN:
            yield name, size_bytes
        else:
            what = _LINKS.get(kind) or _OTHERS.get(kind) or f"kind {kind!r}"
            rule: BundleRule = "links" if kind in _LINKS else "files"
            raise _refuse(f"{name!a}: expected a plain file, found {what}", rule)
        file.seek(beginning + -(-size_bytes // _BLOCK_BYTES) * _BLOCK_BYTES)


def _parse_header(header: bytes) -> tuple[str, bytes, int]:
    """Return name, kind and size of a member, after the header's own sum was found to be right."""
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
        raise _refuse("expected a whole tar archive, found one that stops too early")
    return data


def _refuse(fault: str, rule: BundleRule = "files") -> BundleError:
    return BundleError(f"{fault}. {_HOW_TO_PACK}.", rule)
