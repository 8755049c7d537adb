"""Starts a process with the environment in which libraries round alike on every x86-64-v3 processor.

NumPy and OpenBLAS choose their kernels while they are loaded, by what the processor can do: NumPy's float64
`exp`, `log` and `cosh` differ between AVX2 and AVX-512, and OpenBLAS adds up a product in another order on
each kind of core. Environment variables limit both to x86-64-v3; they are read once, so a process that makes
outputs starts with them. This module runs before NumPy is loaded, and imports the standard library alone.
"""

import os
import platform
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

NUMPY_TARGETS = ("X86_V4", "AVX512_ICL", "AVX512_SPR")
"""What NumPy since 2.4 has kernels for beyond x86-64-v3. It ignores those that the processor lacks."""
OPENBLAS_CORE = "Haswell"
"""OpenBLAS's name of kernels for AVX2 and FMA, which every x86-64-v3 processor runs."""

_REMOVED = ("NPY_ENABLE_CPU_FEATURES", "ATEN_CPU_CAPABILITY")
"""They would choose kernels too: NumPy refuses the first beside NPY_DISABLE_CPU_FEATURES; by the second,
PyTorch draws other initial weights."""
_V3_FLAGS = frozenset({"avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe"})
_CPUINFO = Path("/proc/cpuinfo")


def fixed_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with the variables that fix a process's arithmetic.

    Values that are set already are replaced: no variable of a shell decides a result's bytes. Where the
    processor is not an x86-64-v3 one, libraries keep their choice of kernels, and NumPy's BLAS is still held
    to one thread.

    Args:
        environment: All variables of the process.
    """
    kept = {name: value for name, value in environment.items() if name not in _REMOVED}
    fixed = {"OPENBLAS_NUM_THREADS": "1"}  # another number adds up in another order
    if _is_x86_64_v3():
        fixed |= {"NPY_DISABLE_CPU_FEATURES": " ".join(NUMPY_TARGETS), "OPENBLAS_CORETYPE": OPENBLAS_CORE}
    return kept | fixed


def restart_fixed() -> None:
    """Start this process's program again in the fixed environment, unless it is in it already.

    The process keeps its number, its streams and its arguments. Called before NumPy is imported, it costs one
    start of Python; later, what was imported is lost.
    """
    environment = fixed_environment(os.environ)
    if environment != dict(os.environ):
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


@cache
def _is_x86_64_v3() -> bool:
    """Return whether every core has the instructions: OpenBLAS does not ask before it uses a named core's."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    cores = [line.partition(":")[2].split() for line in lines if line.startswith("flags")]
    return platform.machine() == "x86_64" and bool(cores) and all({*core} >= _V3_FLAGS for core in cores)
