"""sacpipe, trained on command: what peers/contender.py is for the peers, and two words more.

    contender.py TASK SEED PRECISION     answers each line on standard input with a line of JSON

    go SECONDS         trains for so long: steps, seconds, and seconds by phase
    product SECONDS    multiplies matrices of the update's commonest size for so long: GFLOP/s

Computes with as many threads as it may use cores.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML

from sacpipe.core.errors import InterruptedRunError
from sacpipe.params.defaults import params_text
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.resume import open_run
from sacpipe.training.run import Run

SIZES = {"batch_size": 256, "updates_per_step": 1}
HIDDEN_DIMS = (256, 256)
_PRODUCT = (4, 256, 256)
"""Critics and their targets, a batch of 256, a hidden layer of 256 units."""


def make_params(
    task: str,
    steps: int | None,
    seed: int,
    *,
    algorithm: str = "sac",
    engine: dict[str, Any] | None = None,
    **training: int,
) -> TrainParams:
    """Return what `sacpipe params` prints, with the sizes that all contenders share.

    Args:
        task: Task suite and id.
        steps: Environment steps, or None for the task's budget.
        seed: Seed of the run.
        algorithm: Registered name.
        engine: Changes to the section.
        training: Changes to the section.
    """
    tree = YAML(typ="safe").load(params_text(task, steps=steps, seed=seed, algorithm=algorithm))
    sections = {name: tree[name] for name in TrainParams.model_fields}
    sections["algorithm"]["network"]["hidden_dims"] = list(HIDDEN_DIMS)
    sections["engine"] |= engine or {}
    sections["training"] |= SIZES | training
    return TrainParams.parse(sections)


class Silent:
    """Ignores progress."""

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Do nothing."""


class Watch(Silent):
    """Stops the loop after some seconds, and remembers how far it was then."""

    def __init__(self, run: Run, seconds: float) -> None:
        self._run, self._first = run, run.env_steps
        self._start = time.perf_counter()
        self._seconds = seconds
        self.reading: dict[str, Any] = {}

    def is_over(self) -> bool:
        """Say whether the time is over; asked by the loop after every step."""
        passed = time.perf_counter() - self._start
        if passed < self._seconds:
            return False
        self.reading = {"steps": self._run.env_steps - self._first, "seconds": passed}
        return True


def go(run: Run, seconds: float) -> dict[str, Any]:
    """Train for some seconds by the loop of `sacpipe run`; the checkpoint at the end is not counted."""
    path = run.folder / "throughput.jsonl"
    run.checkpoint()
    run.log()  # what passed before belongs to no phase of these seconds
    written = len(path.read_text().splitlines())
    watch = Watch(run, seconds)
    with contextlib.suppress(InterruptedRunError):
        train(run, watch.is_over, watch)
    run.log()
    rows = [json.loads(line)["phases_s"] for line in path.read_text().splitlines()[written:]]
    phases = {name: sum(row.get(name, 0.0) for row in rows) for name in rows[-1]}
    return watch.reading | {"phases_s": phases}


def product(seconds: float, precision: str) -> dict[str, float]:
    """Multiply matrices into memory taken before, as the update does."""
    first, second, out = (torch.rand(_PRODUCT).to(getattr(torch, precision)) for _ in range(3))
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < seconds:
        for _ in range(10):
            torch.bmm(first, second, out=out)
        count += 10
    members, size, _ = _PRODUCT
    return {"gflop_per_s": count * 2 * members * size**3 / passed / 1e9}


def answer(task: str, seed: int, precision: str, folder: Path) -> None:
    """Do what each line says."""
    threads, steps = len(os.sched_getaffinity(0)), 1_000_000
    keep_freed_memory()
    pin_arithmetic(threads)
    intervals = {"random_steps": 300, "evaluation_interval_steps": steps, "evaluation_episodes": 1}
    engine = {"matmul_precision": precision, "num_threads": threads}
    params = make_params(task, steps, seed, engine=engine, **intervals)
    run = open_run(params, folder, "benchmark")
    for line in sys.stdin:
        word, seconds = line.split()
        found = go(run, float(seconds)) if word == "go" else product(float(seconds), precision)
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    run.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        answer(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(temporary))
