"""Tasks of robosuite: time of a step and of the start of an episode, and environments in processes.

    .robosuite/bin/python benchmarks/robosuite_steps.py [rounds]

`make robosuite` builds the environment. Writes benchmarks/robosuite_steps.json and its part of
docs/results.md.
"""

import contextlib
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from report import paragraph, shown, spread, table, write

from sacpipe.core.fixed_arithmetic import restart_fixed
from sacpipe.envs.environment_process import EnvironmentProcess
from sacpipe.envs.handle import EnvironmentHandle, LocalEnvironment
from sacpipe.envs.robosuite import RobosuiteTask

TASKS = ("Lift", "Door", "Stack", "NutAssemblySquare", "PickPlaceCan", "Wipe")
STEPS = 100
"""Steps that are measured in a round."""
PLACES = ("1 here", "1 in a process", "2 here", "2 in processes")


def section(task_id: str, *, hard_reset: bool = False) -> RobosuiteTask:
    """Return a task with the dense reward."""
    options: dict[str, Any] = {"reward_shaping": True, "horizon": 10 * STEPS, "hard_reset": hard_reset}
    return RobosuiteTask(suite="robosuite", id=task_id, options=options, metrics=())


def measure_task(task_id: str) -> dict[str, float]:
    """Return milliseconds of a step, lowest and mean, and of a start, by both kinds of reset."""
    with contextlib.closing(section(task_id).make()) as environment:
        actions, lowest_s, taken_s = np.random.default_rng(0), float("inf"), 0.0
        environment.reset(0)
        for _ in range(STEPS):
            action = actions.uniform(-1.0, 1.0, environment.spec.action_dim).astype(np.float32)
            begin, begin_processor = time.perf_counter(), time.process_time()
            step = environment.step(action)
            taken_s += time.process_time() - begin_processor
            lowest_s = min(lowest_s, time.perf_counter() - begin)
            if step.terminated or step.truncated:
                environment.reset(0)
    starts = {}
    for hard in (True, False):
        with contextlib.closing(section(task_id, hard_reset=hard).make()) as environment:
            begin_processor = time.process_time()
            environment.reset(1)
            starts[hard] = time.process_time() - begin_processor
    return {
        "lowest_ms": 1e3 * lowest_s,
        "processor_ms": 1e3 * taken_s / STEPS,
        "hard_reset_ms": 1e3 * starts[True],
        "soft_reset_ms": 1e3 * starts[False],
    }


def measure_places() -> dict[str, float]:
    """Return steps of Lift per second, in rounds of one step in each environment."""
    task, found = section("Lift"), {}
    with contextlib.closing(task.make()) as first:
        spec = first.spec
    for place in PLACES:
        count, apart = int(place[0]), "process" in place
        with contextlib.ExitStack() as stack:
            handles = [
                stack.enter_context(
                    contextlib.closing(
                        EnvironmentProcess(task, spec, 1) if apart else LocalEnvironment(task.make())
                    )
                )
                for _ in range(count)
            ]
            found[place] = steps_per_s(handles, spec.action_dim)
    return found


def steps_per_s(handles: Sequence[EnvironmentHandle], action_dim: int) -> float:
    """Return the steps of all environments together in a second."""
    for seed, handle in enumerate(handles):
        handle.begin_episode(seed)
    for handle in handles:
        handle.first_observation()
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (STEPS + 5, action_dim)).astype(np.float32)
    for number, action in enumerate(actions):
        if number == 5:
            begin = time.perf_counter()
        for handle in handles:
            handle.begin_step(action)
        for handle in handles:
            handle.finish_step()
    return len(handles) * STEPS / (time.perf_counter() - begin)


def main(rounds: int = 3) -> None:
    """Measure, print and write."""
    tasks: dict[str, list[dict[str, float]]] = {name: [] for name in TASKS}
    places: list[dict[str, float]] = []
    for _ in range(rounds):
        for name in TASKS:
            tasks[name].append(measure_task(name))
        places.append(measure_places())
    figures: dict[str, Any] = {
        "rounds": rounds,
        "tasks": {
            name: {key: spread([one[key] for one in found]) for key in found[0]}
            for name, found in tasks.items()
        },
        "lift_steps_per_s": {place: spread([one[place] for one in places]) for place in PLACES},
    }
    write("robosuite_steps", ("robosuite", "mujoco", "numba", "numpy"), figures, page(figures))


def page(figures: dict[str, Any]) -> str:
    """Say the figures to people."""
    head = paragraph(f"""
        Random actions, dense rewards, OSC_POSE of a Panda, {STEPS} steps of 0.05 s a task, median of
        {figures["rounds"]} rounds (lowest to highest). The lowest time of a step is by the clock, its mean
        and the start of an episode are processor time, which other programs change less.""")
    keys = ("lowest_ms", "processor_ms", "hard_reset_ms", "soft_reset_ms")
    lines = [
        [name, *(shown(figures["tasks"][name][key], 1 if "reset" not in key else 0) for key in keys)]
        for name in TASKS
    ]
    columns = ["task", "step, lowest ms", "step, processor ms", "hard reset, ms", "soft reset, ms"]
    rates = [[place, shown(figures["lift_steps_per_s"][place], 0)] for place in PLACES]
    return "\n".join(
        [head, table(columns, lines), table(["environments of Lift", "steps/s, no learner"], rates)]
    )


if __name__ == "__main__":
    restart_fixed()
    main(*(int(argument) for argument in sys.argv[1:]))
