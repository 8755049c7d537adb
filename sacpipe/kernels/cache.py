"""The folder of compiled kernels: in this user's cache folder, and of this user alone.

A library from there runs in this process. So the folder is refused where another user could have written
into it, and a library is loaded only while its bytes have the digest that was written beside it.
"""

import os
import stat
from pathlib import Path

from sacpipe.core.errors import KernelError
from sacpipe.core.files import make_folder, read_regular_file, sha256_bytes, write_text

_ADVICE = "Set XDG_CACHE_HOME to a folder that only this user may write"


def cache_folder() -> Path:
    """Return the folder of compiled kernels, made with mode 0700 where it is missing.

    Raises:
        KernelError: there is no home, the folder cannot be made, or another user may write into it.
    """
    base = _base()
    try:
        make_folder(base)
        for folder in (base / "sacpipe", base / "sacpipe" / "kernels"):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise KernelError(f"compiled kernels cannot be kept in {base}: {reason}. {_ADVICE}.") from exc
    check_private(base / "sacpipe", os.geteuid(), writable_mode=0o022)
    check_private(base / "sacpipe" / "kernels", os.geteuid(), writable_mode=0o077)
    return base / "sacpipe" / "kernels"


def check_private(folder: Path, user: int, *, writable_mode: int) -> None:
    """Refuse a folder that another user could have written into.

    Args:
        folder: An existing path.
        user: Number of the user who must own it.
        writable_mode: Permission bits that must not be set.

    Raises:
        KernelError: it is a link, no folder, of another user, or has one of the bits.
    """
    found = folder.lstat()
    if stat.S_ISLNK(found.st_mode):
        fault = "a symbolic link, and must be a folder"
    elif not stat.S_ISDIR(found.st_mode):
        fault = "no folder"
    elif found.st_uid != user:
        fault = f"owned by user {found.st_uid}, and must be owned by user {user}, who runs this program"
    elif found.st_mode & writable_mode:
        fault = f"of mode {stat.S_IMODE(found.st_mode):04o}, and must be of mode 0700 (`chmod 700`)"
    else:
        return
    raise KernelError(
        f"compiled kernels are not loaded from {folder}: it is {fault}. Correct or remove it; or: {_ADVICE}."
    )


def is_intact(library: Path) -> bool:
    """Return whether a library is there, with the bytes that it was built with."""
    try:
        expected = read_regular_file(_sidecar(library)).decode()
        return expected == f"{sha256_bytes(read_regular_file(library))}\n"
    except (OSError, ValueError):
        return False


def keep(built: Path, library: Path) -> None:
    """Move a new library to its place, and write its digest beside it.

    A process that finds the one without the other takes the library for damaged, and waits for the lock.
    """
    digest = sha256_bytes(built.read_bytes())
    built.replace(library)
    write_text(_sidecar(library), f"{digest}\n")


def _sidecar(library: Path) -> Path:
    return library.with_name(f"{library.name}.sha256")


def _base() -> Path:
    """Return the user's cache folder. A relative path is ignored, as the XDG specification demands."""
    chosen = os.environ.get("XDG_CACHE_HOME", "")
    if Path(chosen).is_absolute():
        return Path(chosen)
    home = os.environ.get("HOME", "")
    if not Path(home).is_absolute():
        raise KernelError(f"compiled kernels are kept in the home of a user, and HOME is not set. {_ADVICE}.")
    return Path(home) / ".cache"
