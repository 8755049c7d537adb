"""The replay buffer and pool: memory, sampling, size on disk, snapshots, checkpoints, resuming.

    python benchmarks/replay.py [rounds] [seconds]

Writes benchmarks/replay.json and its part of docs/results.md. Works in work/, on the project's own disk.
"""

import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from contender import SIZES, make_params
from report import ROOT, paragraph, shown, spread, table, write
from storage import POOL_TRANSITIONS, TASK, checkpoints, resume, resumes, snapshots

from sacpipe.algorithms.base import Learner
from sacpipe.envs import find_task
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.config import PoolConfig, PoolFormat
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.replay.samplers.base import Sampler
from sacpipe.replay.samplers.uniform import UniformConfig
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Transition
from sacpipe.specs.terms import vector_term
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic

LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
OBSERVATION_DIM, ACTION_DIM = 17, 6
"""HalfCheetah's."""
SPEC = EnvSpec.parse(
    {
        "task": "example/cheetah",
        "observation": [vector_term("state", OBSERVATION_DIM, unit="mixed", source="made up").as_tree()],
        "action": [
            {"name": f"joint_{index}", "unit": "N m", "low": -1.0, "high": 1.0} for index in range(ACTION_DIM)
        ],
        "control_period_s": None,
        "max_episode_steps": None,
    }
)
FIELDS_BYTES = 4 * (2 * OBSERVATION_DIM + ACTION_DIM + 2)
"""Observation, action, next observation, reward, termination: what an update needs of one transition."""
RECORDED = {TASK: 20_000, "gymnasium/Humanoid-v5": 5_000}
_CHUNK = 10_000

Figures = dict[str, Any]


def made_up(count: int) -> Transitions:
    """Return transitions of HalfCheetah's widths."""
    generator = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return generator.standard_normal((count, *shape), dtype=np.float32)

    nothing = np.zeros(count, dtype=np.float32)
    ids = np.zeros(count, dtype=np.int64)
    observations, following = (Observation(SPEC.layout, normal(OBSERVATION_DIM), {}) for _ in range(2))
    return Transitions(observations, normal(ACTION_DIM), normal(), following, nothing, nothing, ids)


def filled(length: int, chunk: Transitions) -> ReplayBuffer:
    """Return a full buffer."""
    buffer = ReplayBuffer(SPEC, length)
    for _ in range(length // len(chunk)):
        buffer.extend(chunk)
    return buffer


def _sampler() -> Sampler:
    return UniformConfig.example().build(SPEC, 0.99)


def memory(chunk: Transitions) -> Figures:
    """Compare the memory that a buffer takes from the machine with its fields' bytes."""
    before = _resident_bytes()
    buffer = filled(POOL_TRANSITIONS, chunk)
    _sampler()(buffer.view(), np.random.default_rng(0), SIZES["batch_size"])
    taken, fields = _resident_bytes() - before, len(buffer) * FIELDS_BYTES
    return {"transitions": len(buffer), "bytes": taken, "fields_bytes": fields, "ratio": taken / fields}


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def sampling(chunk: Transitions, rounds: int) -> Figures:
    """Time a batch's draw from buffers of all lengths, in turn: back to back, and with updates between."""
    buffers = {length: filled(length, chunk) for length in LENGTHS}
    params = make_params(TASK, None, 0)
    learner = params.engine.attach(params.algorithm.build(params.task.make().spec, 0))
    alone: dict[int, list[float]] = {length: [] for length in LENGTHS}
    among: dict[int, list[float]] = {length: [] for length in LENGTHS}
    for _ in range(rounds):
        for length, buffer in buffers.items():
            alone[length].append(_draw_us(buffer, 2000, None))
            among[length].append(_draw_us(buffer, 100, learner))
    return {
        "back_to_back_us": {str(length): spread(times) for length, times in alone.items()},
        "among_updates_us": {str(length): spread(times) for length, times in among.items()},
        "longest_over_shortest": {
            "back_to_back": spread(_ratios(alone)),
            "among_updates": spread(_ratios(among)),
        },
    }


def _ratios(times: dict[int, list[float]]) -> list[float]:
    return [long / short for short, long in zip(times[LENGTHS[0]], times[LENGTHS[-1]], strict=True)]


def _draw_us(buffer: ReplayBuffer, count: int, learner: Learner | None) -> float:
    """Return the mean microseconds of a draw; a learner's updates between draws are not counted."""
    generator, passed, sampler, view = np.random.default_rng(0), 0.0, _sampler(), buffer.view()
    sampler(view, generator, SIZES["batch_size"])
    for _ in range(count):
        start = time.perf_counter()
        batch = sampler(view, generator, SIZES["batch_size"])
        passed += time.perf_counter() - start
        if learner is not None:
            learner.update(batch)
    return passed / count * 1e6


def recorded(task: str, count: int) -> list[Transition]:
    """Return what random actions make of a task."""
    environment = find_task(task).make()
    generator, transitions, episode = np.random.default_rng(0), [], 0
    observation = environment.reset(episode)
    for _ in range(count):
        action = generator.uniform(-1.0, 1.0, environment.spec.action_dim).astype(np.float32)
        step = environment.step(action)
        ended = (step.terminated, step.truncated)
        transitions.append(Transition(observation, action, step.reward, step.observation, *ended, episode))
        observation = step.observation
        if any(ended):
            episode += 1
            observation = environment.reset(episode)
    environment.close()
    return transitions


def forms(folder: Path) -> Figures:
    """Compare the pool's two forms on disk, in bytes a transition."""
    found = {}
    for task, count in RECORDED.items():
        spec, transitions = find_task(task).make().spec, recorded(task, count)
        sizes = {}
        for form in ("full", "compact"):
            writer = PoolWriter.create(folder / form, spec, _one_segment(count, form))
            for transition in transitions:
                writer.append(transition)
            sizes[form] = sum(entry.size_bytes for entry in writer.finish().segments) / count
        found[task] = sizes | {"transitions": count, "ratio": sizes["compact"] / sizes["full"]}
    return found


def _one_segment(count: int, form: PoolFormat) -> PoolConfig:
    return PoolConfig(segment_transitions=count, format=form)


def page(figures: Figures) -> list[str]:
    """Say the figures to people."""
    return [*_memory_page(figures), *_disk_page(figures)]


def _memory_page(figures: Figures) -> list[str]:
    held, flat = figures["memory"], figures["sampling"]["longest_over_shortest"]
    return [
        paragraph(f"""
            Memory: {held["transitions"]:,} HalfCheetah transitions take {held["bytes"] / 1e6:.1f} MB of
            resident memory, {held["ratio"]:.3f} times the {held["fields_bytes"] / 1e6:.1f} MB of the
            fields an update needs."""),
        paragraph(f"""
            Drawing a batch of {SIZES["batch_size"]} from HalfCheetah transitions, in microseconds, median
            of {figures["rounds"]} rounds (lowest to highest): draw after draw, and as training does it,
            with an update between draws that takes the caches for itself."""),
        table(["transitions", "draw after draw", "among updates"], _sampling_rows(figures["sampling"])),
        paragraph(f"""
            The longest takes {shown(flat["among_updates"])} times as long as the shortest among updates,
            and {shown(flat["back_to_back"])} times draw after draw, where the shortest stays in the
            caches."""),
    ]


def _disk_page(figures: Figures) -> list[str]:
    taken, kept, again = (figures[name] for name in ("snapshots", "checkpoints", "resume"))
    first, last = (kept[name]["median"] * 1e3 for name in ("first_ten_s", "last_ten_s"))
    return [
        paragraph("The pool on disk, recorded with random actions, in bytes a transition:"),
        table(["task", "full", "compact", "compact / full"], _forms_rows(figures["forms"])),
        paragraph(f"""
            Snapshots and checkpoints beside the disk's own sequential speed: one file of the same number
            of bytes, written and synced right behind each. A snapshot is of {taken["transitions"]:,}
            transitions, appended at {taken["append_us"]["median"]:.1f} us each; a checkpoint is made each
            {kept["interval_steps"]:,} steps (the default) and holds what is new of the pool."""),
        table(["what", "MB", "ms", "MB/s", "the disk's MB/s", "share"], _writes_rows(figures)),
        paragraph(f"""
            A checkpoint takes {kept["share_of_training"]["median"]:.2%} of the time of the
            {kept["interval_steps"]:,} steps before it, at {kept["training_steps_per_s"]:.0f} steps/s with
            one thread. The first ten took {first:.0f} ms, the last ten of {POOL_TRANSITIONS:,} steps
            {last:.0f} ms."""),
        paragraph(f"""
            Resuming a run with a pool of {again["transitions"]:,} transitions in a new process, nothing of
            it in the system's cache: {shown(again["seconds"], 1)} s from its start to the first update."""),
    ]


def _sampling_rows(found: Figures) -> list[list[str]]:
    columns = (found["back_to_back_us"], found["among_updates_us"])
    return [[f"{length:,}", *(shown(column[str(length)], 1) for column in columns)] for length in LENGTHS]


def _forms_rows(found: Figures) -> list[list[str]]:
    return [
        [task, f"{sizes['full']:.0f}", f"{sizes['compact']:.0f}", f"{sizes['ratio']:.3f}"]
        for task, sizes in found.items()
    ]


def _writes_rows(figures: Figures) -> list[list[str]]:
    rows = {f"snapshot: {name}": found for name, found in figures["snapshots"]["writes"].items()}
    return [
        [
            name,
            f"{found['mb']['median']:.1f}",
            f"{found['seconds']['median'] * 1e3:.0f}",
            f"{found['mb_per_s']['median']:.0f}",
            f"{found['disk_mb_per_s']['median']:.0f}",
            shown(found["share_of_disk"]),
        ]
        for name, found in (rows | {"checkpoint": figures["checkpoints"]}).items()
    ]


def main(rounds: int = 5, seconds: float = 5.0) -> None:
    """Measure, print and write."""
    keep_freed_memory()
    pin_arithmetic(1)
    chunk = made_up(_CHUNK)
    figures: Figures = {"rounds": rounds, "memory": memory(chunk), "sampling": sampling(chunk, rounds)}
    (ROOT / "work").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=ROOT / "work", prefix="benchmark-") as temporary:
        folder = Path(temporary)
        figures["forms"] = forms(folder)
        figures["snapshots"] = snapshots(folder, find_task(TASK).make().spec, rounds)
        figures["checkpoints"] = checkpoints(folder / "run", seconds)
        figures["resume"] = resumes(folder / "run", rounds)
    write("replay", ("torch", "numpy", "mujoco", "gymnasium"), figures, "\n".join(page(figures)))


if __name__ == "__main__":
    if sys.argv[1:2] == ["resume"]:
        resume(Path(sys.argv[2]))
    else:
        main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False)))
