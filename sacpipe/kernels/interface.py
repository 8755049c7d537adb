"""The library's functions with their types."""

import ctypes
from functools import cache

from sacpipe.kernels.library import load

_POINTER, _INT, _LONG = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_FUNCTIONS = {
    "sacpipe_kernels": (ctypes.c_char_p, ()),
    "sacpipe_units": (_LONG, (ctypes.c_char_p, _POINTER, _INT)),
    "sacpipe_program_new": (_POINTER, ()),
    "sacpipe_program_free": (None, (_POINTER,)),
    "sacpipe_program_add": (_INT, (_POINTER, ctypes.c_char_p, _POINTER, _INT, _INT)),
    "sacpipe_program_run": (_INT, (_POINTER, _INT)),
    "sacpipe_program_run_shares": (_INT, (_POINTER, _INT)),
    "sacpipe_forward": (None, (_POINTER, _LONG, _POINTER, _POINTER, _LONG, _POINTER)),
    "sacpipe_elementary": (None, (_INT, _POINTER, _POINTER, _LONG)),
}


@cache
def library(isa: str = "") -> ctypes.CDLL:
    """Return the library of an instruction set.

    Args:
        isa: Name of the set; empty for the one that this process uses.

    Raises:
        KernelError: it cannot be built or loaded; see `sacpipe.kernels.library.load`.
    """
    loaded = load(isa)
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
