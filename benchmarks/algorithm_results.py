"""What other benchmarks measured of each algorithm, from their JSON files; algorithms.py makes the table."""

import json
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import rows
from report import ROOT

from sacpipe.params.budgets import budget_of

SEEDS = (1, 2, 3)


class Result(NamedTuple):
    """A line of the table."""

    algorithm: str
    task: str
    steps: int
    figures: dict[int, float]
    """By seed."""
    command: str
    """Of one seed, or of all where it has no SEED."""
    published: str = ""
    """Value, and in brackets whose, of what, after how many steps."""
    what: str = "return"
    shown: str = ",.1f"

    def cells(self) -> tuple[str, ...]:
        """Return the cells of the line; `not run` where there is no figure."""
        values = [self.figures[seed] for seed in sorted(self.figures)]
        mean = format(statistics.fmean(values), self.shown) if values else "not run"
        seeds = ", ".join(format(value, self.shown) for value in values)
        where = (self.algorithm, self.task, f"{self.steps:,}", self.what)
        return (*where, mean, seeds, self.published, f"`{self.command}`")


def tree(name: str) -> dict[str, Any]:
    """Return benchmarks/NAME.json."""
    found: dict[str, Any] = json.loads((ROOT / "benchmarks" / f"{name}.json").read_text())
    return found


def curve(algorithm: str, program: str, task: str, steps: int, published: str) -> Result:
    """Return the point of the learning curves after so many steps, and what `take` read of single ones."""
    curves = tree("learning")["curves"].get(task, {}).get(program, [])
    found = {
        seed: point["return_mean"]
        for seed, points in enumerate(curves, start=1)
        for point in points
        if point["env_steps"] == steps
    }
    found |= kept(f"{program} {task}", steps)
    command = f"python benchmarks/learning.py one {program} {task} {steps} SEED FOLDER"
    return Result(algorithm, task, steps, found, command, published, shown=",.0f")


def paired(task: str, steps: int, published: str) -> Result:
    """Return the runs of SAC with the native engine."""
    found = {
        run["seed"]: run["return_mean"]
        for run in tree("paired")["runs"]
        if (run["program"], run["task"], run["steps"]) == ("sacpipe", task, steps)
    }
    command = f"python benchmarks/learning.py engines {task} 1 2 3 4 5"
    return Result("SAC", task, steps, found, command, published)


def tuned() -> list[Result]:
    """Return the runs with new params.yaml files and with presets: those that are wanted, and those found."""
    found = rows.read("tuned")
    groups = [
        (row["task"], row["values"], row["steps"]) for row in found if row["values"] in ("tuned", "presets")
    ]
    result = []
    for task, values, steps in dict.fromkeys([*TUNED, *groups]):
        option = " --presets" if values == "presets" else ""
        if values == "tuned" and steps != budget_of(task).total_steps:
            option += f" --steps {steps}"
        figures = {
            row["seed"]: row["return_mean"]
            for row in found
            if (row["task"], row["values"], row["steps"]) == (task, values, steps)
        }
        command = f"python benchmarks/tuned.py run {task} SEED{option}"
        result.append(Result(f"SAC, {values}", task, steps, figures, command, ZOO.get(task, "")))
    return result


def goals() -> list[Result]:
    """Return success, where the task has some at once, and return of each sampler."""
    found = rows.read("goals")
    groups = [(row["task"], row["steps"], row["sampler"]) for row in found]
    result = []
    for task, steps, sampler in dict.fromkeys([*GOALS, *groups]):
        command = f"python benchmarks/goals.py run {task} SEED {sampler} --steps {steps}"
        mine = [row for row in found if (row["task"], row["steps"], row["sampler"]) == (task, steps, sampler)]
        for key, what, shown in (("success", "success", ".0%"), ("return_mean", "return", ",.2f")):
            figures = {row["seed"]: row[key] for row in mine}
            name, published = f"SAC, sampler {sampler}", ZOO.get(f"{task} {what}", "")
            result.append(Result(name, task, steps, figures, command, published, what, shown))
    return result


def levels() -> list[Result]:
    """Return both levels of each hierarchy: those of the file, and the one of the bar."""
    seeds = tree("hierarchy")["seeds"]
    found: list[Result] = []
    ran = [(one["task"], tuple(one["steps"])) for one in seeds]
    for task, steps in dict.fromkeys([*ran, (CHEETAH, (20_000, 60_000))]):
        command = f"python benchmarks/hierarchy.py run {task} {steps[0]}+{steps[1]} SEED"
        for at, (name, algorithm) in enumerate((("lower", "LSP"), ("upper", "LSP, a second level"))):
            figures = {
                one["seed"]: statistics.fmean(one[name]["returns"])
                for one in seeds
                if (one["task"], tuple(one["steps"])) == (task, steps)
            }
            found.append(Result(algorithm, task, steps[at], figures, command))
    return found


def multi_goal() -> Result:
    """Return the share of the goal that is reached least often, of 100 stochastic episodes."""
    found = {int(seed): min(one["shares"]) for seed, one in tree("multi_goal")["seeds"].items()}
    task, command = "softlearning/MultiGoal-Default-v0", "python benchmarks/multi_goal.py run SEED"
    what = "share of the rarest of four goals, stochastic"
    return Result("SQL", task, 10_000, found, command, "none: one figure of paths", what, ".0%")


def composition() -> Result:
    """Return the share of 100 stochastic episodes at the shared goal; two pairs of seeds."""
    return Result(
        "composition",
        "a plane, two goals of each of two tasks",
        500,
        kept("composition", 500),
        "python benchmarks/composition.py SEED",
        what="share at the shared goal, stochastic",
        shown=".1%",
    )


def kept(name: str, steps: int) -> dict[int, float]:
    """Return figures of algorithms.json by seed."""
    return {
        row["seed"]: row["figure"]
        for row in rows.read("algorithms")
        if (row["name"], row["steps"]) == (name, steps)
    }


CHEETAH = "gymnasium/HalfCheetah-v5"
FETCH = "gymnasium_robotics/FetchReach-v4"
TUNED = [
    ("gymnasium/Pendulum-v1", "presets", 10_000),
    ("gymnasium/MountainCarContinuous-v0", "tuned", 12_500),
    ("gymnasium/Swimmer-v5", "tuned", 100_000),
    ("gymnasium/BipedalWalker-v3", "tuned", 100_000),
    ("gymnasium/LunarLanderContinuous-v3", "tuned", 100_000),
]
GOALS = [
    (FETCH, 20_000, "hindsight"),
    ("gymnasium_robotics/PointMaze_UMaze-v3", 50_000, "hindsight"),
    ("point_mass/point-mass-v0", 3_000, "uniform"),
]
ZOO = {
    "gymnasium/Pendulum-v1": "-157.0 (zoo, 20,000 steps)",
    "gymnasium/MountainCarContinuous-v0": "94.7 (zoo, 50,000 steps)",
    "gymnasium/Swimmer-v5": "345.6 (zoo, 1,000,000 steps)",
    f"{FETCH} success": "100 % (zoo, 20,000 steps)",
    f"{FETCH} return": "-1.81 (zoo, 20,000 steps)",
}
"""Published values of rl-baselines3-zoo's SAC; sources in docs/results.md."""
LISTED: list[Callable[[], Result]] = [
    partial(curve, "SAC", "sacpipe", CHEETAH, 100_000, "4,757 to 6,156"),
    partial(curve, "SAC", "sacpipe", CHEETAH, 200_000, "6,536 to 7,939"),
    partial(curve, "SAC, bfloat16", "sacpipe-bfloat16", CHEETAH, 100_000, "4,757 to 6,156"),
    partial(curve, "SAC", "sacpipe", "gymnasium/Hopper-v5", 100_000, "763 to 2,013 (v2 to v4)"),
    partial(curve, "SAC", "sacpipe", "gymnasium/Walker2d-v5", 100_000, "520 to 771 (v2 to v4)"),
    partial(curve, "SAC", "sacpipe", "dm_control/cheetah-run", 100_000, "177 to 213"),
    partial(paired, "gymnasium/InvertedDoublePendulum-v5", 20_000, "9,359.5 (Tianshou, 1,000,000 steps)"),
    partial(curve, "TD3", "sacpipe-td3", CHEETAH, 100_000, "5,504 (Stable-Baselines3 here, 3 seeds)"),
    partial(curve, "TQC", "sacpipe-tqc", CHEETAH, 100_000, "12,090 (zoo, 1,000,000 steps, 1 run)"),
    multi_goal,
    composition,
]
"""Lines of the table in its order."""
