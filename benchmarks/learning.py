"""Learning curves of sacpipe and its peers on the same tasks; `make learn`.

    python benchmarks/learning.py run [FOLDER]     all jobs, two at a time, each on a core of its own
    python benchmarks/learning.py draw [FOLDER]    pictures and tables in docs/ from what is finished

A job is one program, task and seed. sacpipe's continue from their checkpoint when they are started
again, a peer's start over; what is finished is not run twice. FOLDER is `.learning` unless told.
The peers' jobs need the environment that `make bench` builds in .peers.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PEERS_PYTHON = ROOT / ".peers" / "bin" / "python"
CONTENDER = ROOT / "benchmarks" / "peers" / "contender.py"
SEEDS = (1, 2, 3)
EPISODES = 10


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


TASKS = {
    "gymnasium/HalfCheetah-v5": 200_000,
    "dm_control/cheetah-run": 100_000,
    "gymnasium/Hopper-v5": 100_000,
    "gymnasium/Walker2d-v5": 100_000,
}
PEER_TASKS = {"gymnasium/HalfCheetah-v5": 100_000, "dm_control/cheetah-run": 100_000}
EVALUATIONS = 20


def jobs() -> list[Job]:
    """Return every curve in the order of how much depends on it."""
    ours = [Job("sacpipe", task, steps, seed) for task, steps in TASKS.items() for seed in SEEDS]
    theirs = [Job("sbx", task, steps, seed) for task, steps in PEER_TASKS.items() for seed in SEEDS]
    return ours[:3] + theirs[:3] + ours[3:6] + theirs[3:] + ours[6:]


def run(folder: Path) -> None:
    """Run what is not finished, one process a core."""
    waiting = [job for job in jobs() if not (folder / job.name / "curve.json").exists()]
    running: dict[int, tuple[subprocess.Popen, Job]] = {}
    cores = sorted(os.sched_getaffinity(0))[:2]
    while waiting or running:
        for core in cores:
            if core not in running and waiting:
                job = waiting.pop(0)
                running[core] = (_start(job, folder, core), job)
                print(f"{job.name}: started on core {core}", flush=True)
        time.sleep(2)
        for core, (process, job) in list(running.items()):
            if process.poll() is not None:
                del running[core]
                print(f"{job.name}: ended with {process.returncode}", flush=True)


def _start(job: Job, folder: Path, core: int) -> subprocess.Popen:
    (folder / job.name).mkdir(parents=True, exist_ok=True)
    arguments = [job.program, job.task, str(job.steps), str(job.seed), str(folder / job.name)]
    if job.program == "sacpipe":
        command = [sys.executable, __file__, "one", *arguments]
    else:
        command = [str(PEERS_PYTHON), str(CONTENDER), "learn", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with (folder / job.name / "log").open("a") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            env=environment,
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # noqa: PLW1509 - no threads here
        )


def one(task: str, steps: int, seed: int, folder: Path) -> None:
    """Train sacpipe on one task, from the last checkpoint where there is one."""
    from ruamel.yaml import YAML

    from pipelines.defaults import params_text
    from pipelines.stages.train import keep_freed_memory, pin_threads
    from sacpipe.core.files import write_json
    from sacpipe.training.config import TrainParams
    from sacpipe.training.loop import Run, train

    tree = YAML(typ="safe").load(params_text(task, steps=steps, seed=seed, preset="paper"))
    sections = {name: tree[name] for name in TrainParams.model_fields}
    sections["training"] |= {
        "evaluation_interval_steps": steps // EVALUATIONS,
        "evaluation_episodes": EPISODES,
        "log_interval_steps": 1000,
        "checkpoint_interval_steps": 5000,
    }
    params = TrainParams.parse(sections)
    keep_freed_memory()
    pin_threads(1)
    run = Run(params, folder, params.digest())
    train(run, lambda: False, Silent())
    run.checkpoint()
    run.close()
    write_json(folder / "curve.json", {"params": sections, "points": points(folder)})


class Silent:
    """Watches nothing."""

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Hear and say nothing."""


def points(folder: Path) -> list[dict[str, float]]:
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


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["one", _, task, steps, seed, folder]:
            one(task, int(steps), int(seed), Path(folder))
        case ["run", *rest]:
            run(Path(rest[0] if rest else ".learning").absolute())
        case _:
            sys.exit(__doc__)
