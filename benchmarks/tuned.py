"""Trainings of new params.yaml files on tasks whose values are tuned, and of the presets beside them.

`python benchmarks/tuned.py run TASK SEED [--presets]` trains one and adds its row to benchmarks/tuned.json;
`python benchmarks/tuned.py draw` writes docs/results.md. A row: mean return of 20 deterministic episodes.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from report import ROOT, today, write

import sacpipe
from sacpipe.core.config import read_yaml
from sacpipe.params.budgets import budget_of
from sacpipe.params.defaults import params_text
from sacpipe.training.config import TrainParams

ROWS = ROOT / "benchmarks" / "tuned.json"
EPISODES = 20


def rows() -> list[dict[str, Any]]:
    """Return the rows that are there."""
    found: list[dict[str, Any]] = json.loads(ROWS.read_text())["rows"] if ROWS.is_file() else []
    return found


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


def run(task: str, seed: int, *, presets: bool) -> None:
    """Train, evaluate, and add a row."""
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "params.yaml"
        printed.write_text(params_text(task, seed=seed))
        tree = read_yaml(printed)
        params = TrainParams.parse(
            {
                name: value
                for name, value in (preset_values(tree) if presets else tree).items()
                if name in TrainParams.model_fields
            }
        )
        start = time.monotonic()
        sacpipe.train(params, Path(folder) / "run")
        policy = sacpipe.load_policy(Path(folder) / "run" / "policy.safetensors")
        episodes = sacpipe.evaluate(policy, params.task, episodes=EPISODES, seed=seed)
    returns = [episode.episode_return for episode in episodes]
    row = {
        "task": task,
        "values": "presets" if presets else "tuned",
        "seed": seed,
        "steps": params.training.total_steps,
        "return_mean": statistics.fmean(returns),
        "return_min": min(returns),
        "minutes": (time.monotonic() - start) / 60,
        "date": today(),
    }
    print(row)
    key = ("task", "values", "seed")
    kept = [other for other in rows() if [other[name] for name in key] != [row[name] for name in key]]
    ROWS.write_text(json.dumps({"rows": [*kept, row]}, indent=2) + "\n")


def draw() -> None:
    """Write the table of all rows."""
    lines = [
        "| task | values | steps | mean return of each seed | lowest of all episodes | lowest of a release |"
    ]
    lines.append("|---|---|---|---|---|---|")
    found = sorted(rows(), key=lambda row: (row["task"], row["values"] == "tuned", row["seed"]))
    for task, values in dict.fromkeys((row["task"], row["values"]) for row in found):
        group = [row for row in found if (row["task"], row["values"]) == (task, values)]
        means = ", ".join(f"{row['return_mean']:.1f}" for row in group)
        low = min(row["return_min"] for row in group)
        bar = budget_of(task).min_return_mean
        lines.append(f"| {task} | {values} | {group[0]['steps']:,} | {means} | {low:.1f} | {bar} |")
    write("tuned", ["torch", "gymnasium", "numpy"], {"rows": found}, "\n".join(lines))


if __name__ == "__main__":
    if sys.argv[1] == "draw":
        draw()
    else:
        run(sys.argv[2], int(sys.argv[3]), presets="--presets" in sys.argv)
