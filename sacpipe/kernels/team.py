"""How many threads run a program. The number changes no byte."""

import functools
import os

from sacpipe.core.errors import KernelError

VARIABLE = "SACPIPE_NATIVE_THREADS"
_MAX_THREADS = 64


@functools.cache
def num_threads() -> int:
    """Return the environment's number of threads, else the number of CPUs that this process may use.

    Raises:
        KernelError: the variable is not a number from 1 to 64.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        has_affinity = hasattr(os, "sched_getaffinity")
        return min(_MAX_THREADS, len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1)
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= _MAX_THREADS:
        raise KernelError(
            f"{VARIABLE}: expected a number from 1 to {_MAX_THREADS}, found '{text}'. Correct it, or leave "
            "it out: then all CPUs are used that this process may use."
        )
    return int(text)
