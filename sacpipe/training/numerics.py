"""The settings of a process that its numbers and its speed depend on: threads, BLAS, freed memory."""

import ctypes
import sys

import torch
from threadpoolctl import threadpool_limits

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20
_PROBE_SIZE = 256


def pin_arithmetic(num_threads: int) -> None:
    """Fix what the bytes of products depend on: the number of threads, and whose kernels multiply.

    PyTorch computes with this many threads and NumPy's BLAS with one, whatever the machine has: another
    number adds numbers up in another order.

    float32 products go to oneDNN where it makes them in float32. PyTorch's default, MKL, has nothing newer
    than AVX2 for processors that are not Intel's, and needs twice the time there. PyTorch asks oneDNN for
    float32 only with leave to round the operands to bfloat16 (`medium`); oneDNN takes that leave where
    the processor multiplies bfloat16 in tiles (AMX), and there MKL stays.
    """
    torch.set_num_threads(num_threads)
    threadpool_limits(1, user_api="blas")
    torch.set_float32_matmul_precision("medium")
    if _rounds_operands():
        torch.set_float32_matmul_precision("highest")


def _rounds_operands() -> bool:
    """Multiply numbers that bfloat16 does not have by one, and say whether they came out changed."""
    fine = torch.full((_PROBE_SIZE, _PROBE_SIZE), 1.0 + 2.0**-12)
    return not torch.equal(torch.mm(fine, torch.eye(_PROBE_SIZE)), fine)


def keep_freed_memory() -> None:
    """Ask glibc to keep freed blocks instead of returning them to the system.

    An update frees and allocates the same megabytes hundreds of times a second; faulting the pages
    in again costs as much as the arithmetic.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD)
            libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST_MMAP_THRESHOLD)
