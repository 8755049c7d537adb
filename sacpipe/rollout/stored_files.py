"""The files of one stored bundle: repaired from good bytes, and removed."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from sacpipe.core.files import storage_errors, sync_folder, write_bytes


def remove(path: Path) -> None:
    """Remove a folder, a file or a link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def repair(folder: Path, files: Mapping[str, bytes]) -> None:
    """Make a bundle's folder hold exactly these files. A kill in between leaves no file worse than before."""
    with storage_errors(folder):
        for name, data in files.items():
            path = folder / name
            if path.is_symlink() or not path.is_file() or path.read_bytes() != data:
                write_bytes(path, data)
        for path in folder.iterdir():
            if path.name not in files:
                path.unlink()
        sync_folder(folder)
