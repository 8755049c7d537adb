"""What snapshots, checkpoints and a resume cost, beside the disk's own speed. replay.py prints it."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contender import Silent, go, make_params
from report import spread

from sacpipe.core.errors import InterruptedRunError
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Step, Transition
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.resume import open_run
from sacpipe.training.run import Run

TASK = "gymnasium/HalfCheetah-v5"
POOL_TRANSITIONS = 1_000_000
_SNAPSHOT_TRANSITIONS = 100_000
_EPISODE_STEPS = 1000
_KEY = "benchmark"


class Write(NamedTuple):
    """Something written, and the same number of bytes written plainly right behind it."""

    size_bytes: int
    seconds: float
    plain_s: float


def timed(folder: Path, work: Callable[[], object]) -> Write:
    """Time some writing and count its bytes."""
    before, start = _written_bytes(), time.perf_counter()
    work()
    seconds = time.perf_counter() - start
    size_bytes = _written_bytes() - before
    return Write(size_bytes, seconds, _plain_s(folder, size_bytes))


def _written_bytes() -> int:
    """Return how many bytes this process gave to files so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(dict(line.split(": ") for line in lines)["wchar"])


def _plain_s(folder: Path, size_bytes: int) -> float:
    """Return the seconds that one file takes, written in one go and synced."""
    data = np.random.default_rng(0).bytes(size_bytes)
    path = folder / "plain"
    start = time.perf_counter()
    with path.open("wb", buffering=0) as file:
        file.write(data)
        os.fsync(file.fileno())
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def throughput(writes: list[Write]) -> dict[str, Any]:
    """Return seconds, MB/s and the share of the disk's own speed, over all rounds."""
    return {
        "mb": spread(write.size_bytes / 1e6 for write in writes),
        "seconds": spread(write.seconds for write in writes),
        "mb_per_s": spread(write.size_bytes / 1e6 / write.seconds for write in writes),
        "disk_mb_per_s": spread(write.size_bytes / 1e6 / write.plain_s for write in writes),
        "share_of_disk": spread(write.plain_s / write.seconds for write in writes),
    }


def snapshots(folder: Path, spec: EnvSpec, rounds: int) -> dict[str, Any]:
    """Append, flush, seal and publish a segment's worth of transitions."""
    size, appends = _SNAPSHOT_TRANSITIONS, list[float]()
    written: dict[str, list[Write]] = {"flush": [], "seal": [], "publish": []}
    # One more than are appended, or flush would seal the full segment itself.
    config = PoolConfig(segment_transitions=size + 1, format="compact")
    for index in range(rounds):
        writer = PoolWriter.create(folder / "pool", spec, config)
        appends.append(_append(writer, spec, size) / size * 1e6)
        target = folder / f"published-{index}"
        for name, work in (
            ("flush", writer.flush),
            ("seal", writer.finish),
            ("publish", lambda to=target, source=writer: source.publish(to)),
        ):
            written[name].append(timed(folder, work))
    return {
        "transitions": size,
        "append_us": spread(appends),
        "writes": {name: throughput(writes) for name, writes in written.items()},
    }


def _append(writer: PoolWriter, spec: EnvSpec, count: int) -> float:
    """Return the seconds that appending takes, one transition at a time."""
    observations, actions, rewards = _random(spec, count + 1, seed=0)
    start = time.perf_counter()
    for index in range(count):
        writer.append(
            Transition(
                observations[index],
                actions[index],
                rewards[index],
                observations[index + 1],
                terminated=False,
                truncated=False,
                episode_id=0,
            )
        )
    return time.perf_counter() - start


def _random(spec: EnvSpec, count: int, seed: int) -> tuple[list[Observation], np.ndarray, list[float]]:
    """Return observations, actions and rewards of nothing in particular."""
    generator = np.random.default_rng(seed)
    vectors = generator.standard_normal((count, spec.observation_dim), dtype=np.float32)
    observations = [Observation(spec.layout, vector, {}) for vector in vectors]
    actions = generator.uniform(-1.0, 1.0, (count, spec.action_dim)).astype(np.float32)
    return observations, actions, generator.standard_normal(count).tolist()


def default_params() -> TrainParams:
    """Return the task's own params: every interval as `sacpipe params` prints it."""
    return make_params(TASK, None, 1)


def checkpoints(folder: Path, seconds: float) -> dict[str, Any]:
    """Give a run a pool of made-up steps, with a checkpoint at each default interval, then train for real.

    The run's last episode is a real one, so that it can be resumed.
    """
    run = open_run(default_params(), folder, _KEY)
    interval = run.params.training.checkpoint_interval_steps
    writes = []
    while run.env_steps < POOL_TRANSITIONS:
        _invent(run, interval)
        writes.append(timed(folder, run.checkpoint))
    warm, trained = go(run, seconds), go(run, seconds)
    run.close()
    steps_per_s = trained["steps"] / trained["seconds"]
    share = (write.seconds / (interval / steps_per_s) for write in writes)
    return throughput(writes) | {
        "interval_steps": interval,
        "first_ten_s": spread(write.seconds for write in writes[:10]),
        "last_ten_s": spread(write.seconds for write in writes[-10:]),
        "training_steps_per_s": steps_per_s,
        "share_of_training": spread(share),
        "steps_beyond_the_pool": warm["steps"] + trained["steps"],
    }


def _invent(run: Run, count: int) -> None:
    observations, actions, rewards = _random(run.spec, count, seed=run.env_steps)
    for index in range(count):
        is_last = (run.env_steps + 1) % _EPISODE_STEPS == 0
        run.environments[0].action = actions[index]
        steps = [Step(observations[index], rewards[index], terminated=False, truncated=is_last)]
        run.store(steps)
        run.end_episodes(steps)


def resumes(folder: Path, rounds: int) -> dict[str, Any]:
    """Resume the run in fresh processes, its files not in the system's cache: seconds to the first update."""
    seconds, found = [], {}
    script = [sys.executable, str(Path(__file__).with_name("replay.py")), "resume", str(folder)]
    for _ in range(rounds):
        _forget(folder)
        start = time.perf_counter()
        with subprocess.Popen(script, stdout=subprocess.PIPE, text=True) as process:
            line = process.stdout.readline()
            seconds.append(time.perf_counter() - start)
        if not line:
            sys.exit("the run could not be resumed")
        found = json.loads(line)
    return found | {"seconds": spread(seconds)}


def _forget(folder: Path) -> None:
    """Ask the system to drop files from its cache."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(descriptor)


def resume(folder: Path) -> None:
    """Continue a run as the train stage does, and say so after the first update."""
    keep_freed_memory()
    pin_arithmetic(1)
    run = open_run(default_params(), folder, _KEY)
    before = run.learner.gradient_steps

    def stop() -> bool:
        if run.learner.gradient_steps != before + 1 or run.determinism != "exact":
            sys.exit(
                f"expected one exact update, found {run.learner.gradient_steps - before}, {run.determinism}"
            )
        sys.stdout.write(json.dumps({"transitions": run.env_steps}) + "\n")
        sys.stdout.flush()
        return True

    with contextlib.suppress(InterruptedRunError):
        train(run, stop, Silent())
    run.close()
