"""Damaged files of a bundle. Kind: what makes the damage in a good bundle's folder, and the rules that may refuse it.

Where the damage makes a tar file, it returns the path of that file.
"""

import io
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from forged_bundles import FILES, change_manifest, reseal

from sacpipe.bundle.canonical_json import FORMAT_VERSION

Damage = Callable[[Path], Path | None]
_FILES, _LINKS = frozenset({"files"}), frozenset({"links"})
_CONTENT = frozenset({"manifest", "digest"})


def _truncate(folder: Path, name: str) -> None:
    os.truncate(folder / name, (folder / name).stat().st_size // 2)


def _extend(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as file:
        file.write(b"\0" * 16)


def _empty(folder: Path, name: str) -> None:
    os.truncate(folder / name, 0)


def _flip(folder: Path, name: str) -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


def _swap_type(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / FILES[FILES.index(name) - 1]).read_bytes())


def _remove(folder: Path, name: str) -> None:
    (folder / name).unlink()


def _link(folder: Path, name: str) -> None:
    (folder / name).rename(folder.parent / name)
    (folder / name).symlink_to(folder.parent / name)


def _pipe(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)


def _folder(folder: Path, name: str) -> None:
    (folder / name).unlink()
    (folder / name).mkdir()


def _sparse(folder: Path, name: str) -> None:
    os.truncate(folder / name, 2**40)


_OF_EVERY_FILE: dict[str, tuple[Callable[[Path, str], None], frozenset[str]]] = {
    "truncated": (_truncate, _CONTENT),
    "extended": (_extend, _CONTENT),
    "emptied": (_empty, _CONTENT),
    "one bit flipped": (_flip, _CONTENT),
    "bytes of another file": (_swap_type, _CONTENT),
    "missing": (_remove, _FILES),
    "symbolic link": (_link, _LINKS),
    "pipe": (_pipe, _LINKS),
    "folder in its place": (_folder, _LINKS),
    "sparse terabyte": (_sparse, frozenset({"size"})),
}


def _add(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"x")


def _manifest(change: Callable[..., object]) -> Damage:
    return lambda folder: change_manifest(folder, change)


def _twice(folder: Path) -> None:
    text, entry = (folder / "manifest.json").read_bytes(), b'"format_version": %d' % FORMAT_VERSION
    (folder / "manifest.json").write_bytes(text.replace(entry, entry + b",\n  " + entry))


_OF_THE_MANIFEST: dict[str, tuple[Damage, frozenset[str]]] = {
    "manifest: another size": (
        _manifest(lambda tree: tree["files"]["policy.onnx"].update(size_bytes=1)),
        _CONTENT,
    ),
    "manifest: negative size": (
        _manifest(lambda tree: tree["files"]["policy.onnx"].update(size_bytes=-1)),
        _CONTENT,
    ),
    "manifest: another digest": (
        _manifest(lambda tree: tree["files"]["policy.onnx"].update(sha256="0" * 64)),
        _CONTENT,
    ),
    "manifest: digest in capitals": (
        _manifest(lambda tree: tree["files"]["policy.onnx"].update(sha256="A" * 64)),
        _CONTENT,
    ),
    "manifest: version of the future": (_manifest(lambda tree: tree.update(format_version=99)), _CONTENT),
    "manifest: version true": (_manifest(lambda tree: tree.update(format_version=True)), _CONTENT),
    "manifest: entry missing": (_manifest(lambda tree: tree["files"].pop("golden.npz")), _CONTENT),
    "manifest: entry outside the folder": (
        _manifest(lambda tree: tree["files"].update({"../policy.onnx": tree["files"].pop("policy.onnx")})),
        _CONTENT,
    ),
    "manifest: unknown key": (_manifest(lambda tree: tree.update(code="import os")), _CONTENT),
    "manifest: key given twice": (_twice, _CONTENT),
    "manifest: list in its place": (lambda folder: _write(folder, b"[]\n"), _CONTENT),
    "manifest: deep nesting": (lambda folder: _write(folder, b"[" * 30_000 + b"]" * 30_000), _CONTENT),
    "manifest: with a byte order mark": (
        lambda folder: _write(folder, b"\xef\xbb\xbf" + (folder / "manifest.json").read_bytes()),
        _CONTENT,
    ),
    "name: extra file": (lambda folder: _add(folder, "setup.py"), _FILES),
    "name: hidden file": (lambda folder: _add(folder, ".policy.onnx"), _FILES),
    "name: capitals": (lambda folder: _add(folder, "Policy.onnx"), _FILES),
    "name: escape sequence of a terminal": (lambda folder: _add(folder, "\x1b[2J"), _FILES),
    "name: no UTF-8": (
        lambda folder: (Path(os.fsdecode(bytes(folder) + b"/\xff\xfe"))).write_bytes(b"") and None,
        _FILES,
    ),
    "name: data of ONNX beside it": (lambda folder: _add(folder, "policy.onnx.data"), _FILES),
}


def _write(folder: Path, manifest: bytes) -> None:
    (folder / "manifest.json").write_bytes(manifest)


def _npz(**changes: object) -> Damage:
    """Return a damage that replaces arrays of golden.npz, or their bytes; None leaves an array out."""

    def damage(folder: Path) -> None:
        with np.load(folder / "golden.npz") as arrays:
            found = dict(arrays)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
            for name, value in (found | changes).items():
                if value is None:
                    continue
                raw = io.BytesIO()
                if isinstance(value, bytes):
                    raw.write(value)
                else:
                    np.save(raw, value, allow_pickle=True)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), raw.getvalue())
        reseal(folder, "golden.npz", buffer.getvalue())

    return damage


def _compressed(folder: Path) -> None:
    with np.load(folder / "golden.npz") as arrays:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
    reseal(folder, "golden.npz", buffer.getvalue())


def _encrypted(folder: Path) -> None:
    data = bytearray((folder / "golden.npz").read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.find(signature)
        while start >= 0:
            data[start + offset] |= 1
            start = data.find(signature, start + 1)
    reseal(folder, "golden.npz", bytes(data))


def _header(text: bytes) -> bytes:
    """Return an npy file of one header and no numbers."""
    padded = text + b" " * (63 - (len(text) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(padded)) + padded


_GOLDEN, _POSITION = frozenset({"golden"}), "observation.position"
_OF_GOLDEN: dict[str, tuple[Damage, frozenset[str]]] = {
    "golden: NaN": (_npz(actions=np.full((3, 2), np.nan, np.float32)), _GOLDEN),
    "golden: infinity": (_npz(**{_POSITION: np.full((3, 2), np.inf, np.float32)}), _GOLDEN),
    "golden: term missing": (_npz(**{_POSITION: None}), _GOLDEN),
    "golden: term that is none": (_npz(**{"observation.other": np.zeros((3, 2), np.float32)}), _GOLDEN),
    "golden: term of another shape": (_npz(**{_POSITION: np.zeros((3, 2, 1), np.float32)}), _GOLDEN),
    "golden: term of bytes": (_npz(**{_POSITION: np.zeros((3, 2), np.uint8)}), _GOLDEN),
    "golden: term of another number of rows": (_npz(**{_POSITION: np.zeros((4, 2), np.float32)}), _GOLDEN),
    "golden: noise that no network takes": (_npz(noise=np.zeros((3, 2), np.float32)), _GOLDEN),
    "golden: packed observations as before": (_npz(observations=np.zeros((3, 3), np.float32)), _GOLDEN),
    "golden: double precision": (_npz(actions=np.zeros((3, 2))), _GOLDEN),
    "golden: big-endian": (_npz(actions=np.zeros((3, 2), ">f4")), _GOLDEN),
    "golden: column order": (_npz(actions=np.asfortranarray(np.ones((3, 2), np.float32))), _GOLDEN),
    "golden: pickled objects": (_npz(actions=np.array([[print] * 2] * 3, object)), _GOLDEN),
    "golden: actions out of bounds": (_npz(actions=np.full((3, 2), 9.0, np.float32)), _GOLDEN),
    "golden: wrong actions": (_npz(actions=np.zeros((3, 2), np.float32)), _GOLDEN),
    "golden: other number of rows": (_npz(actions=np.zeros((4, 2), np.float32)), _GOLDEN),
    "golden: header of a terabyte": (
        _npz(actions=_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 2), }")),
        _GOLDEN,
    ),
    "golden: header that is code": (
        _npz(
            actions=_header(
                b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (3, 2)}"
            )
        ),
        _GOLDEN,
    ),
    "golden: third array": (_npz(extra=np.zeros(1, np.float32)), _GOLDEN),
    "golden: entry outside the archive": (_npz(**{"../actions": np.zeros((3, 2), np.float32)}), _GOLDEN),
    "golden: compressed entries": (_compressed, _GOLDEN),
    "golden: encrypted entries": (_encrypted, _GOLDEN),
    "golden: numbers cut off": (
        _npz(actions=_header(b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }")),
        _GOLDEN,
    ),
    "golden: no archive": (lambda folder: reseal(folder, "golden.npz", b"PK\x05\x06" + b"\0" * 18), _GOLDEN),
}


def _tar(change: Callable[[tarfile.TarFile], object], mode: str = "w") -> Damage:
    """Return a damage that packs the bundle and adds to the archive."""

    def damage(folder: Path) -> Path:
        path = folder.parent / "bundle.tar"
        with tarfile.open(path, mode, format=tarfile.USTAR_FORMAT) as archive:
            change(archive)
            for name in FILES:
                archive.add(folder / name, name)
        return path

    return damage


def _member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[tarfile.TarFile], object]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return lambda archive: archive.addfile(info)


def _patched(offset: int, data: bytes) -> Damage:
    """Return a damage that changes bytes of the first header of a good archive, with the right checksum."""

    def damage(folder: Path) -> Path:
        path = _tar(lambda archive: None)(folder)
        raw = bytearray(path.read_bytes())
        raw[offset : offset + len(data)] = data
        raw[148:156] = b" " * 8
        raw[148:156] = b"%06o\0 " % sum(raw[:512])
        path.write_bytes(raw)
        return path

    return damage


def _cut(folder: Path) -> Path:
    path = _tar(lambda archive: None)(folder)
    os.truncate(path, path.stat().st_size // 2)
    return path


def _checksum(folder: Path) -> Path:
    path = _tar(lambda archive: None)(folder)
    raw = bytearray(path.read_bytes())
    raw[0] ^= 1
    path.write_bytes(raw)
    return path


_OF_TAR: dict[str, tuple[Damage, frozenset[str]]] = {
    "tar: symbolic link": (_tar(_member("manifest.sig", tarfile.SYMTYPE, "/etc/passwd")), _LINKS),
    "tar: hard link": (_tar(_member("manifest.sig", tarfile.LNKTYPE, "policy.onnx")), _LINKS),
    "tar: device": (_tar(_member("manifest.sig", tarfile.CHRTYPE)), _FILES),
    "tar: pipe": (_tar(_member("manifest.sig", tarfile.FIFOTYPE)), _FILES),
    "tar: folder": (_tar(_member("bundle", tarfile.DIRTYPE)), _FILES),
    "tar: name outside": (_tar(_member("../manifest.sig")), _FILES),
    "tar: absolute name": (_tar(_member("/etc/manifest.sig")), _FILES),
    "tar: member twice": (_tar(_member("policy.onnx")), _FILES),
    "tar: extra member": (_tar(_member("setup.py")), _FILES),
    "tar: compressed": (_tar(lambda archive: None, "w:gz"), _FILES),
    "tar: cut off": (_cut, _FILES),
    "tar: wrong checksum": (_checksum, _FILES),
    "tar: size beyond the file": (_patched(124, b"00077777777\0"), frozenset({"files", "size"})),
    "tar: size in binary": (
        _patched(124, b"\x80" + b"\0" * 7 + b"\x7f\xff\xff\xff"),
        frozenset({"files", "size"}),
    ),
    "tar: negative size": (_patched(124, b"-0000000001\0"), _FILES),
    "tar: sparse member": (_patched(156, b"S"), _FILES),
    "tar: thousands of extended headers": (
        _tar(lambda archive: [_member("x", tarfile.XHDTYPE)(archive) for _ in range(5000)]),
        _FILES,
    ),
    "tar: nothing": (lambda folder: _write_bytes(folder.parent / "bundle.tar", b"\0" * 1024), _FILES),
    "tar: no archive": (lambda folder: _write_bytes(folder.parent / "bundle.tar", b"GIF89a" * 200), _FILES),
}


def _write_bytes(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


DAMAGED: dict[str, tuple[Damage, frozenset[str]]] = {
    **{
        f"{name}: {kind}": (lambda folder, damage=damage, name=name: damage(folder, name), rules)
        for kind, (damage, rules) in _OF_EVERY_FILE.items()
        for name in FILES
    },
    **_OF_THE_MANIFEST,
    **_OF_GOLDEN,
    **_OF_TAR,
}
