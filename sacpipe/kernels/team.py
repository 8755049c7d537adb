"""How many threads run a program. The number changes no byte."""

import functools
import math
import os
from pathlib import Path

from sacpipe.core.errors import KernelError

VARIABLE = "SACPIPE_NATIVE_THREADS"
_MAX_THREADS = 64
_CPU_MAX = Path("/sys/fs/cgroup/cpu.max")


@functools.cache
def num_threads() -> int:
    """Return the environment's number of threads, else the number of CPUs that this process may use.

    Raises:
        KernelError: the variable is not a number from 1 to 64.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        return max(1, min(_MAX_THREADS, _num_cpus(), _quota()))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_THREADS:
        raise KernelError(
            f"{VARIABLE}: expected a number from 1 to {_MAX_THREADS}, found '{text}'. Correct it, or leave "
            "it out: then all CPUs are used that this process may use."
        )
    return int(text)


def _num_cpus() -> int:
    """Return the number of CPUs that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _quota() -> int:
    """Return how many CPUs' time the control group has: a container's limit, which no affinity shows."""
    try:
        quota, period = _CPU_MAX.read_text(encoding="utf-8").split()
        return math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return _MAX_THREADS  # "max", another version of control groups, or none
