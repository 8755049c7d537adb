"""The engines `native` and `torch` from the same seeds: is what they learn equally good?

`python benchmarks/learning.py engines TASK SEED...` trains each seed with both, two runs at a time, each on a
core of its own with one thread. A run that finishes is a row in benchmarks/paired.json and is not run again.
"""

import json
import math
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curves import EPISODES, Job, Points, read_points, run, seconds_to
from race import OURS, TORCH
from report import ROOT, paragraph, provenance, table, write

TASKS = {"gymnasium/InvertedDoublePendulum-v5": 20_000, "gymnasium/HalfCheetah-v5": 100_000}
GOALS = {"gymnasium/HalfCheetah-v5": 5_000}
"""Returns whose time is reported."""
PAIR = (OURS, TORCH)
_ROWS = ROOT / "benchmarks" / "paired.json"
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)
"""Quantile 0.975 of Student's t with 1 to 14 degrees of freedom."""
_T_975_BEYOND = 2.131
"""With 15, which is too wide with more."""

Row = dict[str, Any]


def compare(task: str, seeds: list[int], folder: Path) -> None:
    """Run what is missing of these seeds, and write every row as its run finishes.

    Args:
        task: One of `TASKS`.
        seeds: Of both engines.
        folder: For unfinished work.
    """
    place = folder / "engines"
    runs: list[Row] = json.loads(_ROWS.read_text())["runs"] if _ROWS.exists() else []
    done = {(row["program"], row["task"], row["steps"], row["seed"]) for row in runs}
    jobs = [Job(program, task, TASKS[task], seed) for seed in seeds for program in PAIR]
    missing = [job for job in jobs if tuple(job) not in done]

    def finish(job: Job, points: Points) -> None:
        runs.append(row_of(job, points))
        save(runs)

    for job in missing:
        if job.curve(place).exists():  # it was stopped before it wrote the row
            finish(job, read_points(job, place))
    run(missing, place, finish)
    if not missing:
        save(runs)


def row_of(job: Job, points: Points) -> Row:
    """Return what is kept of a run."""
    goal = GOALS.get(job.task)
    return job._asdict() | {
        "return_mean": points[-1]["return_mean"],
        "seconds": points[-1]["seconds"],
        "seconds_to_goal": None if goal is None else seconds_to(points, goal),
        "points": points,
        "measured": provenance(),
    }


def save(runs: list[Row]) -> None:
    """Write all rows, and the comparison of each task."""
    found = {task: one for task in TASKS if (one := figures(task, runs))["seeds"]}
    text = "\n".join(page(found))
    write("paired", ("sacpipe", "torch", "mujoco", "gymnasium"), {"runs": runs, "tasks": found}, text)


def figures(task: str, runs: list[Row]) -> dict[str, Any]:
    """Compare the engines on the seeds that both have."""
    by_seed: dict[int, dict[str, Row]] = {}
    for row in runs:
        if row["task"] == task:
            by_seed.setdefault(row["seed"], {})[row["program"]] = row
    pairs = {seed: rows for seed, rows in sorted(by_seed.items()) if rows.keys() == set(PAIR)}
    returns = {name: [rows[name]["return_mean"] for rows in pairs.values()] for name in PAIR}
    differences = [ours - theirs for ours, theirs in zip(*returns.values(), strict=True)]
    return {
        "seeds": list(pairs),
        "returns": returns,
        "differences": differences,
        "difference_mean": statistics.fmean(differences) if differences else None,
        "interval_95": interval(differences),
        "seconds": {name: [rows[name]["seconds"] for rows in pairs.values()] for name in PAIR},
        "seconds_to_goal": {
            name: [rows[name]["seconds_to_goal"] for rows in pairs.values()] for name in PAIR
        },
    }


def interval(differences: list[float]) -> list[float] | None:
    """Return Student's 95 % interval of the mean of paired differences; None for fewer than two."""
    count = len(differences)
    if count < 2:
        return None
    quantile = _T_975[count - 2] if count - 2 < len(_T_975) else _T_975_BEYOND
    half = quantile * statistics.stdev(differences) / math.sqrt(count)
    mean = statistics.fmean(differences)
    return [mean - half, mean + half]


def page(tasks: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Describe the comparison of each task."""
    yield paragraph(f"""
        The engines `native` and `torch` (both float32) from the same seeds, with the params that
        `sacpipe params` prints; two runs at a time, each with one thread on a core of its own. Return of
        {EPISODES} deterministic episodes at the end: mean over seeds, with each seed's value in brackets.
        Differences are native minus torch of a seed, with Student's 95 % interval of their mean. Seconds
        are of training, without evaluations.""")
    head = [
        "task, steps",
        "seeds",
        "native",
        "torch",
        "difference (95 % interval)",
        "seconds, native / torch",
    ]
    yield table(
        [*head, "seconds to 5,000, native / torch"], [_row(task, found) for task, found in tasks.items()]
    )


def _row(task: str, found: dict[str, Any]) -> list[str]:
    digits = 0 if task in GOALS else 2
    mean, bounds = found["difference_mean"], found["interval_95"]
    difference = "" if mean is None else f"{mean:,.{digits}f}"
    if bounds is not None:
        difference += " ({:,.{digits}f} to {:,.{digits}f})".format(*bounds, digits=digits)
    return [
        f"{task}, {TASKS[task]:,}",
        ", ".join(map(str, found["seeds"])),
        *(_means(found["returns"][name], digits) for name in PAIR),
        difference,
        " / ".join(_means(found["seconds"][name], 0) for name in PAIR),
        " / ".join(_means(found["seconds_to_goal"][name], 0) for name in PAIR) if task in GOALS else "",
    ]


def _means(values: list[float | None], digits: int) -> str:
    """Return the mean with each value behind; without a mean where one of them is missing."""
    each = ", ".join("not reached" if value is None else f"{value:,.{digits}f}" for value in values)
    known = [value for value in values if value is not None]
    mean = f"{statistics.fmean(known):,.{digits}f} " if known and len(known) == len(values) else ""
    return f"{mean}({each})"
