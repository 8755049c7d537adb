"""The memory of a training process over many updates by the native engine.

    python benchmarks/memory.py [updates]     1,000,000 by default; some minutes for each precision

A small network, as one byte lost in an update counts the same in any size: 16 units, batches of 16, drawn
from a replay buffer as training draws them. Each precision in a process of its own, with as many threads as
cores. Writes benchmarks/memory.json and its part of docs/results.md.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from contender import make_params
from race import ENGINES, OURS, ROUGH, environment_for, programs
from report import paragraph, table, write

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.samplers.mixture import Mixture
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Transition
from sacpipe.training.config import TrainParams
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.samplers import batch_sources

TASK, UNITS, BATCH = "gymnasium/HalfCheetah-v5", 16, 16
TRANSITIONS = 10_000
READINGS = 20
_DESCRIBED_EVERY = 20
"""As training does: every so many updates one is described, which computes gradients' norms."""


def measure(engine: dict[str, Any], updates: int) -> dict[str, Any]:
    """Make updates, and read this process's resident memory in between, in bytes."""
    params = make_params(TASK, TRANSITIONS, 0, engine=engine, hidden_dims=(UNITS, UNITS), batch_size=BATCH)
    keep_freed_memory()
    pin_arithmetic(params.engine.num_threads)
    environment = params.task.make()
    spec = environment.spec
    environment.close()
    learner = params.engine.attach(params.algorithm.build(spec, params.seed))
    mixture = _mixture(params, spec, learner.discount)
    stream, start = np.random.default_rng(0), time.perf_counter()
    readings = {}
    for index in range(1, updates + 1):
        learner.update(mixture.sample(stream))
        if index % _DESCRIBED_EVERY == 0:
            learner.diagnostics()
        if index % max(1, updates // READINGS) == 0:
            readings[index] = _resident_bytes()
    return {"resident_bytes": readings, "seconds": time.perf_counter() - start}


def _mixture(params: TrainParams, spec: EnvSpec, discount: float) -> Mixture:
    """Return batches of made-up transitions."""
    generator, buffer = np.random.default_rng(1), ReplayBuffer(spec, TRANSITIONS)
    vectors = generator.standard_normal((TRANSITIONS + 1, spec.observation_dim), dtype=np.float32)
    observations = [Observation(spec.layout, vector, {}) for vector in vectors]
    actions = generator.uniform(-1.0, 1.0, (TRANSITIONS, spec.action_dim)).astype(np.float32)
    for row, action in enumerate(actions):
        reward = float(vectors[row, 0])
        buffer.add(Transition(observations[row], action, reward, observations[row + 1], False, False, 0))
    return Mixture(
        batch_sources(params, spec, buffer, None, lambda: params.replay.sampler.build(spec, discount))
    )


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def main(updates: int = 1_000_000) -> None:
    """Measure each precision, print and write."""
    threads = len(os.sched_getaffinity(0))
    found = {}
    for program in (name for name in (OURS, ROUGH) if name in programs()):
        result = subprocess.run(
            [sys.executable, __file__, "--measure", json.dumps(ENGINES[program]), str(updates)],
            env=environment_for(program, threads),
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        found[program] = json.loads(result.stdout)
    figures = {"updates": updates, "threads": threads, "programs": found}
    write("memory", ("torch", "numpy"), figures, page(figures))


def page(figures: dict[str, Any]) -> str:
    """Describe the figures."""
    head = paragraph(f"""
        Resident memory of a process that makes {figures["updates"]:,} updates with the native engine and
        {figures["threads"]} threads: SAC on {TASK}, two hidden layers of {UNITS} units, batches of {BATCH},
        drawn from {TRANSITIONS:,} transitions. Read {READINGS} times.""")
    rows = []
    for program, one in figures["programs"].items():
        readings = list(one["resident_bytes"].values())
        first, last = (f"{value / 2**20:.2f}" for value in (readings[0], readings[-1]))
        added, most = (f"{(value - readings[0]) / 2**10:,.0f}" for value in (readings[-1], max(readings)))
        rows.append([program, first, last, added, most, f"{one['seconds']:.0f}"])
    count = min(int(key) for one in figures["programs"].values() for key in one["resident_bytes"])
    columns = [f"after {count:,}, MiB", "at the end, MiB", "added, KiB", "added at most, KiB", "seconds"]
    return head + "\n" + table(["program", *columns], rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.stdout.write(json.dumps(measure(json.loads(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(*(int(word) for word in sys.argv[1:]))
