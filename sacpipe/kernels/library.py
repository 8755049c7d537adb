"""Loads the compiled kernels into this process."""

import ctypes
from functools import cache

from sacpipe.core.errors import KernelError
from sacpipe.kernels import isa as instruction_sets
from sacpipe.kernels.build import digest_sources, library_path, read_sources


def chosen_isa() -> str:
    """Return the name of the instruction set that this process uses.

    Raises:
        KernelError: the processor has none, or lacks the one that SACPIPE_NATIVE_ISA names.
    """
    return instruction_sets.chosen().name


def load(isa: str = "") -> ctypes.CDLL:
    """Return the library of an instruction set, built where it is missing, and loaded once a process.

    Args:
        isa: Name of the set; empty for `chosen_isa()`.

    Raises:
        KernelError: a set or a compiler is missing, the cache is refused, or the library does not load.
    """
    name = isa or chosen_isa()
    possible = [one.name for one in instruction_sets.this_processor()]
    if name not in possible:  # its code would end this process with SIGILL
        raise KernelError(
            f"this processor lacks the instruction set '{name}'; it has: {', '.join(possible)}."
        )
    return _load(name)


def source_digest() -> str:
    """Return the SHA-256 of the kernels' sources."""
    return digest_sources(read_sources())


@cache
def _load(isa: str) -> ctypes.CDLL:
    path = library_path(isa)
    try:
        return ctypes.CDLL(str(path))
    except OSError as exc:
        raise KernelError(
            f"the compiled kernels for {isa} cannot be loaded: {exc}. Where the cache folder forbids "
            "execution, set XDG_CACHE_HOME to one that does not."
        ) from exc
