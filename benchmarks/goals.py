"""Trainings on a task with goals by different samplers.

`python benchmarks/goals.py run TASK SEED SAMPLER [--steps N]` trains one, for N steps or for the task's
budget, and adds its row to benchmarks/goals.json; `python benchmarks/goals.py draw` writes docs/results.md. A
row: success in the last step, and return, of 50 deterministic episodes.
"""

import statistics
import sys

import rows
from report import today, write
from ruamel.yaml import YAML

from sacpipe.params.defaults import params_text
from sacpipe.params.presets import preset_tree
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.specs.budget import Budget

EPISODES = 50


def run(task: str, seed: int, sampler: str, steps: int | None) -> None:
    """Train with the values of a new params.yaml but for the sampler, evaluate, and add a row."""
    tree = YAML(typ="safe").load(params_text(task, seed=seed, steps=steps))
    total = tree["training"]["total_steps"]
    tree["replay"]["sampler"] = preset_tree(SAMPLERS.find(sampler), {"name": sampler}, None, Budget(total))
    episodes, minutes = rows.train(tree, EPISODES)
    success = next(name for name in ("is_success", "success") if name in episodes[0].last_metrics)
    row = {
        "task": task,
        "sampler": sampler,
        "seed": seed,
        "steps": total,
        "success": statistics.fmean(episode.last_metrics[success] for episode in episodes),
        "return_mean": statistics.fmean(episode.episode_return for episode in episodes),
        "minutes": minutes,
        "date": today(),
    }
    rows.add("goals", ("task", "sampler", "seed", "steps"), row)


def draw() -> None:
    """Write the table of all rows."""
    lines = [
        "| task | steps | sampler | success of each seed | mean return of each seed |",
        "|---|---|---|---|---|",
    ]
    found = sorted(
        rows.read("goals"), key=lambda row: (row["task"], row["steps"], row["sampler"], row["seed"])
    )
    for task, steps, sampler in dict.fromkeys((row["task"], row["steps"], row["sampler"]) for row in found):
        group = [
            row for row in found if (row["task"], row["steps"], row["sampler"]) == (task, steps, sampler)
        ]
        success = ", ".join(f"{100 * row['success']:.0f} %" for row in group)
        returns = ", ".join(f"{row['return_mean']:.2f}" for row in group)
        lines.append(f"| {task} | {steps:,} | {sampler} | {success} | {returns} |")
    write("goals", ["torch", "gymnasium", "numpy"], {"rows": found}, "\n".join(lines))


if __name__ == "__main__":
    words, total_steps = rows.steps_option(sys.argv[1:])
    match words:
        case ["draw"]:
            draw()
        case ["run", name, number, chosen]:
            run(name, int(number), chosen, total_steps)
        case _:
            sys.exit(__doc__)
