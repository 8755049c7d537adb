"""The speed of multiply-adds on one core, which bounds that of the kernels."""

import ctypes
from typing import NamedTuple

from sacpipe.kernels.library import load


class Peak(NamedTuple):
    """GFLOP/s of one core, a multiply-add counted as two. Measured by the thread's own time."""

    float32: float
    bfloat16: float
    """With bfloat16 operands and float32 sums; 0 where the instruction set has no such instruction."""

    def __str__(self) -> str:
        bfloat16 = f", {self.bfloat16:.0f} in bfloat16" if self.bfloat16 else ""
        return f"FMA peak {self.float32:.0f} GF/s a core{bfloat16}"


def measure_peak(seconds: float = 0.1) -> Peak:
    """Measure the peak with the instruction set that this process uses.

    Args:
        seconds: Processor time of each of the two measurements.

    Raises:
        KernelError: see `load`.
    """
    return Peak(*(_measure(name, seconds) for name in ("sacpipe_fma_peak", "sacpipe_bf16_peak")))


def _measure(name: str, seconds: float) -> float:
    function = getattr(load(), name)
    function.argtypes, function.restype = [ctypes.c_double], ctypes.c_double
    return float(function(seconds))
