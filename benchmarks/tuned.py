"""Trainings of new params.yaml files on tasks whose values are or were tuned, and of the presets beside them.

`python benchmarks/tuned.py run TASK SEED [--steps N] [--presets]` trains one, for N steps of the tuned file
or for the task's budget, and adds its row to benchmarks/tuned.json; `python benchmarks/tuned.py draw` writes
docs/results.md. A row: mean return of 20 deterministic episodes.
"""

import statistics
import sys
from typing import Any

import rows
from report import today, write
from ruamel.yaml import YAML

from sacpipe.params.budgets import budget_of
from sacpipe.params.defaults import params_text

EPISODES = 20


def preset_values(tree: dict[str, Any]) -> dict[str, Any]:
    """Return params of the same task and the same number of task steps without what is tuned."""
    tree["task"]["options"], repeat = {}, tree["task"]["options"].get("action_repeat", 1)
    steps = tree["training"]["total_steps"] * repeat
    tree["training"] |= {"total_steps": steps, "random_steps": steps // 20}
    tree["training"] |= {"evaluation_interval_steps": steps // 10, "checkpoint_interval_steps": steps // 4}
    tree["replay"]["capacity"] = steps
    tree["algorithm"] |= {"actor_learning_rate": 3e-4, "critic_learning_rate": 3e-4}
    tree["algorithm"]["temperature"]["learning_rate"] = 3e-4
    return tree


def run(task: str, seed: int, steps: int | None, *, presets: bool) -> None:
    """Train, evaluate, and add a row."""
    tree = YAML(typ="safe").load(params_text(task, seed=seed, steps=steps))
    tree = preset_values(tree) if presets else tree
    episodes, minutes = rows.train(tree, EPISODES)
    returns = [episode.episode_return for episode in episodes]
    row = {
        "task": task,
        "values": "presets" if presets else "tuned",
        "seed": seed,
        "steps": tree["training"]["total_steps"],
        "return_mean": statistics.fmean(returns),
        "return_min": min(returns),
        "minutes": minutes,
        "date": today(),
    }
    rows.add("tuned", ("task", "values", "seed", "steps"), row)


def draw() -> None:
    """Write the table of all rows."""
    lines = [
        "| task | values | steps | mean return of each seed | lowest of all episodes | lowest of a release |"
    ]
    lines.append("|---|---|---|---|---|---|")
    found = sorted(
        rows.read("tuned"),
        key=lambda row: (row["task"], row["values"] != "presets", row["steps"], row["seed"]),
    )
    for task, values, steps in dict.fromkeys((row["task"], row["values"], row["steps"]) for row in found):
        group = [row for row in found if (row["task"], row["values"], row["steps"]) == (task, values, steps)]
        means = ", ".join(f"{row['return_mean']:.1f}" for row in group)
        low = min(row["return_min"] for row in group)
        bar = budget_of(task).min_return_mean
        lines.append(f"| {task} | {values} | {steps:,} | {means} | {low:.1f} | {bar} |")
    write("tuned", ["torch", "gymnasium", "numpy"], {"rows": found}, "\n".join(lines))


if __name__ == "__main__":
    words, total_steps = rows.steps_option(sys.argv[1:])
    match words:
        case ["draw"]:
            draw()
        case ["run", name, number]:
            run(name, int(number), total_steps, presets=False)
        case ["run", name, number, "--presets"]:
            run(name, int(number), total_steps, presets=True)
        case _:
            sys.exit(__doc__)
