"""Train a policy: params.yaml in, policy, replay pool, curve and metrics out."""

import ctypes
import sys

import torch
from threadpoolctl import threadpool_limits

from pipelines.progress import ProgressDisplay
from pipelines.stages import StageContext, run_stage
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import Run, train

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 << 20


def train_stage(context: StageContext) -> None:
    """Train from the start, or from the last checkpoint of this stage key."""
    params = TrainParams.load_sections(context.workspace.params)
    keep_freed_memory()
    pin_threads(params.training.num_threads)
    extended = params.training.extends
    base = None if extended is None else context.workspace.work(extended)
    run = Run(params, context.workspace.work(context.key), context.key, base)
    try:
        title = f"train {run.spec.task}"
        with ProgressDisplay(title, params.training.total_steps, run.env_steps) as progress:
            train(run, lambda: context.interruption.requested, progress)
        run.publish(context.workspace.train)
    finally:
        run.close()


def pin_threads(num_threads: int) -> None:
    """Let PyTorch compute with this many threads and NumPy's BLAS with one, whatever the machine has.

    Another number of threads adds numbers up in another order, and so gives other bytes.
    """
    torch.set_num_threads(num_threads)
    threadpool_limits(1, user_api="blas")


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


if __name__ == "__main__":
    run_stage("train", train_stage)
