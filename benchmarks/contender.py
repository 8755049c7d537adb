"""sacpipe, trained on command: what peers/contender.py is for the peers, and two words more.

    contender.py TASK SEED ENGINE     answers each line on standard input with a line of JSON

    go SECONDS      trains for so long: steps, seconds, and seconds by phase
    peak SECONDS    measures the FMA peak of all cores that it may use, for so long: GFLOP/s

ENGINE is the section `engine` of params.yaml, in JSON. The native engine's threads are the environment's.
"""

import contextlib
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sacpipe.core.errors import InterruptedRunError
from sacpipe.kernels.peak import Peak, measure_peak
from sacpipe.params.defaults import params_text
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.resume import open_run
from sacpipe.training.run import Run

SIZES = {"batch_size": 256, "updates_per_step": 1}
HIDDEN_DIMS = (256, 256)


def make_params(
    task: str,
    steps: int | None,
    seed: int,
    *,
    algorithm: str = "sac",
    engine: dict[str, Any] | None = None,
    hidden_dims: tuple[int, ...] | None = HIDDEN_DIMS,
    **training: int,
) -> TrainParams:
    """Return what `sacpipe params` prints, with the sizes that all contenders share.

    Args:
        task: Task suite and id.
        steps: Environment steps, or None for the task's budget.
        seed: Seed of the run.
        algorithm: Registered name.
        engine: The section, or None for the task's own.
        hidden_dims: Units of each hidden layer, or None for the task's own.
        training: Changes to the section.
    """
    tree = YAML(typ="safe").load(params_text(task, steps=steps, seed=seed, algorithm=algorithm))
    sections = {name: tree[name] for name in TrainParams.model_fields}
    if hidden_dims is not None:
        sections["algorithm"]["network"]["hidden_dims"] = list(hidden_dims)
    if engine is not None:
        sections["engine"] = engine
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


def peak(seconds: float) -> dict[str, float]:
    """Measure the FMA peak of each core at the same time, and add up: cores may share a unit or a clock."""
    cores = sorted(os.sched_getaffinity(0))
    with ThreadPoolExecutor(len(cores)) as pool:
        peaks = list(pool.map(lambda core: _peak_of(core, seconds), cores))
    return {name: sum(getattr(one, name) for one in peaks) for name in Peak._fields}


def _peak_of(core: int, seconds: float) -> Peak:
    os.sched_setaffinity(0, {core})  # of this thread alone
    return measure_peak(seconds / len(Peak._fields))


def answer(task: str, seed: int, engine: dict[str, Any], folder: Path) -> None:
    """Do what each line says."""
    steps = 1_000_000
    intervals = {"random_steps": 300, "evaluation_interval_steps": steps, "evaluation_episodes": 1}
    params = make_params(task, steps, seed, engine=engine, **intervals)
    keep_freed_memory()
    pin_arithmetic(params.engine.num_threads)
    run = open_run(params, folder, "benchmark")
    for line in sys.stdin:
        word, seconds = line.split()
        found = go(run, float(seconds)) if word == "go" else peak(float(seconds))
        sys.stdout.write(json.dumps(found) + "\n")
        sys.stdout.flush()
    run.close()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        answer(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]), Path(temporary))
