"""Instruction sets that the kernels are compiled for, and which of them this processor has."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from sacpipe.core.errors import KernelError

VARIABLE = "SACPIPE_NATIVE_ISA"
"""Environment variable that forces one set."""
_CPUINFO = Path("/proc/cpuinfo")
_V3 = frozenset(["avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"])
_V4 = _V3 | frozenset(["avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"])


@dataclass(frozen=True)
class InstructionSet:
    """One way to compile the kernels."""

    name: str
    machines: frozenset[str]
    """Values of `platform.machine()` of the processors that may have it."""
    needed: frozenset[str]
    """Flags of /proc/cpuinfo that the processor must have. Linux omits a flag that it has not enabled."""
    macro: str
    """Preprocessor symbol by which the sources know the set."""
    predefined: str
    """Preprocessor symbol that a compiler which supports the set defines under `gcc_flags`."""
    gcc_flags: tuple[str, ...]
    """Flags for GCC and clang."""
    zig_flags: tuple[str, ...]
    """Flags for the clang of zig, which has its own names of processors."""


_X86 = frozenset({"x86_64", "AMD64"})
SETS = (
    InstructionSet(
        "avx512-bf16",
        _X86,
        _V4 | {"avx512_bf16"},
        "SACPIPE_ISA_AVX512_BF16",
        "__AVX512BF16__",
        ("-march=x86-64-v4", "-mavx512bf16"),
        ("-mcpu=x86_64_v4+avx512bf16",),
    ),
    InstructionSet(
        "avx512",
        _X86,
        _V4,
        "SACPIPE_ISA_AVX512",
        "__AVX512VL__",
        ("-march=x86-64-v4",),
        ("-mcpu=x86_64_v4",),
    ),
    InstructionSet(
        "x86-64-v3",
        _X86,
        _V3,
        "SACPIPE_ISA_X86_64_V3",
        "__AVX2__",
        ("-march=x86-64-v3",),
        ("-mcpu=x86_64_v3",),
    ),
    InstructionSet(
        "neon",
        frozenset({"aarch64", "arm64"}),
        frozenset(),  # every 64-bit ARM processor has it
        "SACPIPE_ISA_NEON",
        "__ARM_NEON",
        ("-march=armv8-a",),
        ("-mcpu=generic",),
    ),
)
"""Every set; of those that a processor has, the first is the fastest."""


def available(cpuinfo: str, machine: str) -> list[InstructionSet]:
    """Return the sets that a processor has, the fastest first.

    Args:
        cpuinfo: Text of Linux's /proc/cpuinfo; empty where there is none.
        machine: Type of the machine, as `platform.machine()` gives it.
    """
    flags = [
        frozenset(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.partition(":")[0].strip() == "flags"
    ]
    common = frozenset.intersection(*flags) if flags else frozenset()  # cores can differ
    return [one for one in SETS if machine in one.machines and one.needed <= common]


def choose(cpuinfo: str, machine: str, forced: str = "") -> InstructionSet:
    """Return the set that the kernels are used with.

    Args:
        cpuinfo: See `available`.
        machine: See `available`.
        forced: Name of the set to use; empty for the fastest.

    Raises:
        KernelError: the processor has no set, the forced one is unknown, or the processor lacks it.
    """
    possible = available(cpuinfo, machine)
    names = ", ".join(one.name for one in possible)
    if forced:
        for one in possible:
            if one.name == forced:
                return one
        known = any(one.name == forced for one in SETS)
        fault = "this processor lacks it" if known else "there is no such instruction set"
        offer = f"set it to one of: {names}; or unset it" if possible else "this processor has none"
        raise KernelError(f"{VARIABLE}={forced}: {fault}; {offer}.")
    if not possible:
        raise KernelError(
            f"the native kernels need one of the instruction sets {', '.join(one.name for one in SETS)}, and "
            f"this processor ({machine}) has none; use `engine: {{name: autograd, num_threads: 1}}`."
        )
    return possible[0]


def this_processor() -> list[InstructionSet]:
    """Return the sets of this machine's processor, the fastest first."""
    return available(_cpuinfo(), platform.machine())


def chosen() -> InstructionSet:
    """Return the set that this process uses.

    Raises:
        KernelError: see `choose`.
    """
    return choose(_cpuinfo(), platform.machine(), os.environ.get(VARIABLE, ""))


def find(name: str) -> InstructionSet:
    """Return the set of a name, whether this processor has it or not.

    Raises:
        KernelError: there is no such set.
    """
    for one in SETS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in SETS)
    raise KernelError(f"there is no instruction set '{name}'; the kernels are compiled for: {known}.")


def _cpuinfo() -> str:
    try:
        return _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # not Linux
