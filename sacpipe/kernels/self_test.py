"""Whether the compiled kernels compute the bits that they compute elsewhere."""

import ctypes

import numpy as np

from sacpipe.core.errors import KernelError
from sacpipe.core.files import sha256_bytes
from sacpipe.kernels.library import load

EXPECTED_SHA256 = "10ef4fc02101d31fdb8e51f0d5f4980b1a0cc278cb2215d7a2441817dc8c5977"
"""Digest of what `sacpipe_self_test` in csrc/self_test.cpp computes, little-endian; one for all sets."""
_CAPACITY = 4096


def run(isa: str = "") -> str:
    """Compute the values of `sacpipe_self_test` and compare their digest; return a line about it.

    Args:
        isa: Instruction set; empty for the one that this process uses.

    Raises:
        KernelError: the values differ, or see `load`.
    """
    digest = compute_digest(isa)
    if digest != EXPECTED_SHA256:
        raise KernelError(
            f"the self-test of the compiled kernels computed {digest[:12]}, expected {EXPECTED_SHA256[:12]}: "
            "the compiler or processor rounds otherwise. Name another compiler in the environment variable "
            "CXX, or use `name: autograd` in the section `engine`."
        )
    return f"computes the bits expected ({digest[:12]})"


def compute_digest(isa: str = "") -> str:
    """Return the SHA-256 of the values that `sacpipe_self_test` computes."""
    values = np.zeros(_CAPACITY, np.float32)
    function = load(isa).sacpipe_self_test
    function.argtypes, function.restype = [ctypes.c_void_p, ctypes.c_size_t], ctypes.c_size_t
    count = function(values.ctypes.data, values.size)
    return sha256_bytes(values[:count].astype("<f4").tobytes())
