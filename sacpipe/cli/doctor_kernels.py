"""What `sacpipe doctor` finds about the native engine: processor, compiler, kernels, their self-test."""

import os
from typing import TYPE_CHECKING

from sacpipe.core.errors import KernelError
from sacpipe.core.fence import first_error

if TYPE_CHECKING:
    from sacpipe.kernels.build import Plan

_NOT_BUILT = "not built yet: the first use builds them, or `python -m sacpipe.kernels.build`"


def describe_processor() -> str:
    """Return family, model and name of the processor, its sets for the kernels, and the machine's load."""
    from sacpipe.kernels.isa import this_processor as available_sets
    from sacpipe.project.processor_kind import this_processor

    kind = this_processor()
    sets = " ".join(one.name for one in available_sets()) or "none that the kernels need"
    load = f"{os.getloadavg()[0]:.1f}"
    return f"{kind.family} model {kind.model} ({kind.name}); instruction sets {sets}; load average {load}"


def describe_compiler() -> str:
    """Return name and version of the compiler, or that the kernels were built before and need none.

    Raises:
        KernelError: there is none for the instruction set of this processor, and nothing is built.
    """
    from sacpipe.kernels.compiler import find_compiler
    from sacpipe.kernels.isa import chosen

    try:
        return find_compiler(chosen()).label
    except KernelError:
        if first_error(_plan) is not None:
            raise
    return "none; the kernels were built before, and need none"


def describe_kernels() -> str:
    """Return the instruction set chosen, whether its library is built, and the processor's peak if it is.

    Raises:
        KernelError: the library cannot be built or loaded here.
    """
    from sacpipe.kernels.peak import measure_peak

    plan = _plan()
    return f"{plan.isa.name}, " + (f"built; {measure_peak()}" if plan.is_built else _NOT_BUILT)


def describe_self_test() -> str:
    """Return what the kernels' self-test says. What is not built yet is not built for it.

    Raises:
        KernelError: the library cannot be built or loaded here, or computes other bits.
    """
    from sacpipe.kernels.self_test import run

    return run() if _plan().is_built else "not run: the kernels are not built yet"


def _plan() -> "Plan":
    """Plan the library. Advice about set and compiler is in the row `compiler`, and is not repeated."""
    from sacpipe.kernels.build import plan_build
    from sacpipe.kernels.compiler import find_compiler
    from sacpipe.kernels.isa import chosen

    try:
        return plan_build(chosen().name)
    except KernelError as exc:
        if first_error(lambda: find_compiler(chosen())) is not None:
            raise KernelError("see `compiler`.") from exc
        raise
