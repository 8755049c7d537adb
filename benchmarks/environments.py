"""Several environments in a run: steps per second here and in processes, and what a process costs a step.

    python benchmarks/environments.py [rounds]

Writes benchmarks/environments.json and its part of docs/results.md. Every round has all variants, in turn.
"""

import contextlib
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from contender import Silent, make_params
from report import paragraph, shown, spread, table, write

from sacpipe.core.fixed_arithmetic import restart_fixed
from sacpipe.envs import find_task
from sacpipe.envs.environment_process import EnvironmentProcess
from sacpipe.training.environments import EnvironmentHandle, LocalEnvironment
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.resume import open_run

FAST, SLOW = "gymnasium/HalfCheetah-v5", "gymnasium/slowed:SlowedCheetah-v0"
_PROCESS = {"environment_processes": True}
_LAG = {"policy_lag_rounds": 1}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "1 here": (FAST, {"num_environments": 1}),
    "2 here": (FAST, {"num_environments": 2}),
    "4 here": (FAST, {"num_environments": 4}),
    "slowed, 1 here": (SLOW, {"num_environments": 1}),
    "slowed, 4 here": (SLOW, {"num_environments": 4}),
    "slowed, 1 in a process, lag 1": (SLOW, {"num_environments": 1} | _PROCESS | _LAG),
    "slowed, 2 in processes": (SLOW, {"num_environments": 2} | _PROCESS),
    "slowed, 4 in processes": (SLOW, {"num_environments": 4} | _PROCESS),
    "slowed, 4 in processes, lag 1": (SLOW, {"num_environments": 4} | _PROCESS | _LAG),
}
STEPS = {FAST: 400, SLOW: 60}
"""Steps of an interval: the first has random actions, the next two are measured, the last is evaluated."""
HIDDEN_DIMS = {FAST: (256, 256), SLOW: (32, 32)}
"""The slowed task has a small network, so that a loaded machine measures the simulators, not the updates."""
_OVERHEAD_STEPS = 500


class Marks(Silent):
    """Notes wall-clock and processor time of this process at the end of each interval."""

    def __init__(self) -> None:
        self.wall_s: list[float] = []
        self.processor_s: list[float] = []

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Note the times."""
        super().update(env_steps, latest_return)
        self.wall_s.append(time.perf_counter())
        self.processor_s.append(time.process_time())


def speed(task: str, variant: dict[str, Any]) -> tuple[float, float]:
    """Return steps with an update each per second, and per second of processor time of this process."""
    interval = STEPS[task]
    params = make_params(
        task,
        4 * interval,
        0,
        hidden_dims=HIDDEN_DIMS[task],
        random_steps=interval,
        log_interval_steps=interval,
        evaluation_interval_steps=4 * interval,
        evaluation_episodes=1,
        checkpoint_interval_steps=4 * interval,
        **variant,
    )
    pin_arithmetic(params.engine.num_threads)
    marks = Marks()
    with tempfile.TemporaryDirectory() as folder:
        run = open_run(params, Path(folder), "k")
        with contextlib.closing(run):
            train(run, lambda: False, marks)
    steps = 2 * interval
    wall_s, processor_s = (times[2] - times[0] for times in (marks.wall_s, marks.processor_s))
    return steps / wall_s, steps / processor_s


def step_us(environment: EnvironmentHandle, action_dim: int) -> tuple[float, float]:
    """Return the lowest time of a step, and the mean processor time of this process, in microseconds."""
    actions, lowest_s = np.random.default_rng(0), float("inf")
    environment.begin_episode(0)
    environment.first_observation()
    processor_s = time.process_time()
    for _ in range(_OVERHEAD_STEPS):
        action = actions.uniform(-1.0, 1.0, action_dim).astype(np.float32)
        begin = time.perf_counter()
        environment.begin_step(action)
        environment.finish_step()
        lowest_s = min(lowest_s, time.perf_counter() - begin)
    return 1e6 * lowest_s, 1e6 * (time.process_time() - processor_s) / _OVERHEAD_STEPS


def overhead() -> dict[str, float]:
    """Return times of a step of HalfCheetah here and in a process, in microseconds."""
    task = find_task(FAST)
    local = task.make()
    here, there = LocalEnvironment(local), EnvironmentProcess(task, local.spec, 1)
    dim = local.spec.action_dim
    with contextlib.closing(here), contextlib.closing(there):
        (here_us, _), (there_us, run_us) = step_us(here, dim), step_us(there, dim)
    return {"here": here_us, "in_a_process": there_us, "processor_time_of_the_run": run_us}


def main(rounds: int = 3) -> None:
    """Measure, print and write."""
    keep_freed_memory()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in VARIANTS}
    steps = []
    for number in range(rounds):
        steps.append(overhead())
        for name, (task, variant) in VARIANTS.items():
            found[name].append(speed(task, variant))
        print(f"round {number + 1} of {rounds}", flush=True)
    figures: dict[str, Any] = {
        "rounds": rounds,
        "step_us": {name: spread([step[name] for step in steps]) for name in steps[0]},
        "steps_per_s": {name: spread([wall for wall, _ in pairs]) for name, pairs in found.items()},
        "steps_per_processor_s": {name: spread([cpu for _, cpu in pairs]) for name, pairs in found.items()},
    }
    write("environments", ("torch", "numpy", "mujoco", "gymnasium"), figures, page(figures))


def page(figures: dict[str, Any]) -> str:
    """Say the figures to people."""
    step = {name: shown(figure, 0) for name, figure in figures["step_us"].items()}
    head = paragraph(f"""
        SAC, engine `native`, one thread, an update of 256 transitions a step, seed 0, median of
        {figures["rounds"]} rounds (lowest to highest). HalfCheetah-v5 has networks of 256 x 256. Slowed,
        it waits until each step has taken 30 ms, and has networks of 32 x 32. A step of HalfCheetah-v5 takes
        at least {step["here"]} us here and {step["in_a_process"]} us in a process, where it takes
        {step["processor_time_of_the_run"]} us of the run's own processor time.""")
    wall, cpu = figures["steps_per_s"], figures["steps_per_processor_s"]
    lines = [[name, shown(wall[name], 0), shown(cpu[name], 0)] for name in VARIANTS]
    return head + "\n" + table(["environments", "steps/s", "steps per s of the run's processor time"], lines)


if __name__ == "__main__":
    restart_fixed()
    os.environ["SACPIPE_NATIVE_THREADS"] = "1"
    main(*(int(argument) for argument in sys.argv[1:]))
