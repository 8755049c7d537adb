"""Trains programs for learning curves, two at a time, each on a core of its own.

A job is one program, task and seed. sacpipe's continue from their checkpoint when they are started again, a
peer's start over; what is finished is not run twice.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from race import CORES, ENGINES, PEERS_PYTHON, environment_for
from report import ROOT

CONTENDER = ROOT / "benchmarks" / "peers" / "contender.py"
EPISODES = 10
EVALUATIONS = 20
OURS_TD3, PEER_TD3 = "sacpipe-td3", "stable-baselines3-td3"
"""TD3 here, by the task's own engine, and of Stable-Baselines3."""
OURS_TQC = "sacpipe-tqc"
"""TQC here, which drops no quantile: so the paper does in HalfCheetah."""
ALGORITHMS = {OURS_TD3: "td3", OURS_TQC: "tqc"}
"""Algorithm of a program of ours, where it is not SAC."""

Points = list[dict[str, float]]
"""Of a curve: steps, mean deterministic return, seconds of training without evaluations."""


class Job(NamedTuple):
    """One curve."""

    program: str
    task: str
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.task.replace('/', '-')}-{self.program}-{self.seed}"

    def curve(self, folder: Path) -> Path:
        """Return the file that a finished job has."""
        return folder / self.name / "curve.json"


def run(jobs: Iterable[Job], folder: Path, finished: Callable[[Job, Points], None]) -> None:
    """Run what is not finished, one process a core.

    Args:
        jobs: In this order.
        folder: Has a folder for each.
        finished: Called with each job that finishes, and its curve.
    """
    waiting = [job for job in jobs if not job.curve(folder).exists()]
    running: dict[int, tuple[subprocess.Popen, Job]] = {}
    while waiting or running:
        for core in CORES:
            if core not in running and waiting:
                job = waiting.pop(0)
                running[core] = (_start(job, folder, core), job)
                print(f"{job.name}: started on core {core}", flush=True)
        time.sleep(2)
        for core, (process, job) in list(running.items()):
            if process.poll() is not None:
                del running[core]
                print(f"{job.name}: ended with {process.returncode}", flush=True)
                if job.curve(folder).exists():
                    finished(job, read_points(job, folder))


def read_points(job: Job, folder: Path) -> Points:
    """Return the curve of a finished job."""
    points: Points = json.loads(job.curve(folder).read_text())["points"]
    return points


def _start(job: Job, folder: Path, core: int) -> subprocess.Popen:
    (folder / job.name).mkdir(parents=True, exist_ok=True)
    arguments = [job.program, job.task, str(job.steps), str(job.seed), str(folder / job.name)]
    if job.program in (*ENGINES, *ALGORITHMS):
        command = [sys.executable, str(ROOT / "benchmarks" / "learning.py"), "one", *arguments]
    else:
        command = [str(PEERS_PYTHON), str(CONTENDER), "learn", *arguments]
    with (folder / job.name / "log").open("a") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=environment_for(job.program, threads=1),
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
        )


def one(program: str, task: str, steps: int, seed: int, folder: Path) -> None:
    """Train sacpipe on one task, from the last checkpoint where there is one."""
    from contender import Silent, make_params

    from sacpipe.core.files import write_json
    from sacpipe.training.loop import train
    from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
    from sacpipe.training.resume import open_run

    params = make_params(
        task,
        steps,
        seed,
        algorithm=ALGORITHMS.get(program, "sac"),
        engine=ENGINES.get(program),
        hidden_dims=None,
        evaluation_interval_steps=steps // EVALUATIONS,
        evaluation_episodes=EPISODES,
        log_interval_steps=1000,
        checkpoint_interval_steps=5000,
    )
    if program == OURS_TQC:
        params = params.replace(algorithm=params.algorithm.as_tree() | {"dropped_quantiles": 0})
    keep_freed_memory()
    pin_arithmetic(params.engine.num_threads)
    run = open_run(params, folder, params.digest())
    train(run, lambda: False, Silent())
    run.checkpoint()
    run.close()
    write_json(folder / "curve.json", {"params": params.as_tree(), "points": points(folder)})


def points(folder: Path) -> Points:
    """Return steps, mean deterministic return and seconds of training, evaluations left out."""
    clock = {}
    for line in (folder / "throughput.jsonl").read_text().splitlines():
        row = json.loads(line)
        phases = row["phases_s"]
        clock[row["env_steps"]] = sum(phases.values()) - phases.get("evaluate", 0.0)
    found = []
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if (value := row.get("evaluation/deterministic/return_mean")) is not None:
            spent = sum(seconds for step, seconds in clock.items() if step <= row["env_steps"])
            found.append({"env_steps": row["env_steps"], "return_mean": value, "seconds": round(spent, 1)})
    return found


def seconds_to(points: Points, goal: float) -> float | None:
    """Return the training seconds at the first evaluation that reaches the goal, or None."""
    return next((point["seconds"] for point in points if point["return_mean"] >= goal), None)
