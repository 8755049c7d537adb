"""One SHA-256 of a whole folder, so that a test can compare two folders byte for byte."""

from pathlib import Path

from sacpipe.core.files import sha256_bytes, sha256_file


def sha256_tree(folder: Path) -> str:
    """Return the SHA-256 of the sorted lines `<file digest>  <relative path>`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{sha256_file(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    return sha256_bytes("".join(lines).encode())
