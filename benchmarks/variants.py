"""Variants of Soft Actor-Critic by params alone, on pendulums; each row is one short training of each seed.

    python benchmarks/variants.py [SEED...]       all variants, seed 1 by default

A row has the mean deterministic return of 20 episodes after the last step, or of the step that was kept, and
the lowest mean time of an update in any log interval, which other programs disturb least.
"""

import copy
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

import sacpipe
from sacpipe.core.files import sha256_file
from sacpipe.params.defaults import params_text

STEPS, RATE = 3_000, 1e-3
PENDULUM, HIDDEN = "gymnasium/Pendulum-v1", "gymnasium/hidden_mass:HiddenMassPendulum-v0"
FIXED = {"temperature": {"mode": "fixed", "value": 0.2}}
DECAY = {"schedule": {"name": "linear", "final": 0.1, "steps": STEPS}}

VARIANTS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "default": (PENDULUM, "sac", {}),
    "temperature fixed at 0.2": (PENDULUM, "sac", {"algorithm": FIXED}),
    "5 critics, their minimum": (PENDULUM, "sac", {"algorithm": {"num_critics": 5}}),
    "5 critics, their mean in the actor": (
        PENDULUM,
        "sac",
        {"algorithm": {"num_critics": 5, "actor_q": "mean"}},
    ),
    "2 critics, their mean in the actor": (PENDULUM, "sac", {"algorithm": {"actor_q": "mean"}}),
    "learning rates linear to a tenth": (PENDULUM, "sac", {"adam": DECAY}),
    "keep: best": (PENDULUM, "sac", {"training": {"keep": "best"}}),
    "stop_at_return: -300": (PENDULUM, "sac", {"training": {"stop_at_return": -300.0}}),
    "TD3": (PENDULUM, "td3", {}),
    "TD3, learning rates linear to a tenth": (PENDULUM, "td3", {"adam": DECAY}),
    "TQC, 2 critics": (PENDULUM, "tqc", {"algorithm": {"num_critics": 2}}),
    "hidden mass, critics know it": (HIDDEN, "sac", {"task": {"options": {"critics_know": True}}}),
    "hidden mass, critics do not know it": (HIDDEN, "sac", {"task": {"options": {"critics_know": False}}}),
}


def params(task: str, algorithm: str, seed: int, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the values of a new params.yaml with some changed."""
    text = params_text(task, steps=STEPS, seed=seed, algorithm=algorithm)
    tree = copy.deepcopy(YAML(typ="safe").load(text))
    tree["algorithm"]["network"]["hidden_dims"] = [128, 128]
    tree["algorithm"] |= {"critic_learning_rate": RATE, "actor_learning_rate": RATE}
    if algorithm != "td3":
        tree["algorithm"]["temperature"]["learning_rate"] = RATE
    tree["training"] |= {"evaluation_interval_steps": 500, "evaluation_episodes": 20}
    for section, values in changes.items():
        place = tree["algorithm"] if section == "adam" else tree
        place[section] = values if section == "engine" else place[section] | values
    return tree


def train(tree: dict[str, Any], folder: Path, **arguments: Any) -> str:
    """Train and return the cells of a row: steps, return and milliseconds an update."""
    report = sacpipe.train(tree, folder, **arguments)
    (log,) = folder.glob("work/*/throughput.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    spans = [
        row["phases_s"]["update"] / (row["env_steps"] - before["env_steps"])
        for before, row in itertools.pairwise(rows)
        if "update" in row["phases_s"]
    ]
    kept = report.kept
    steps = report.env_steps if kept is None else kept.env_steps
    reached = report.return_mean_deterministic if kept is None else kept.return_mean
    return f"{steps:,} | {reached:.0f} | {1e3 * min(spans[1:]):.2f}"


def main(seeds: list[int]) -> None:
    """Train everything and print a row for each training."""
    print("| variant | seed | steps | return | ms an update |\n|---|---|---|---|---|")
    for seed in seeds:
        with tempfile.TemporaryDirectory() as scratch:
            for number, (name, (task, algorithm, changes)) in enumerate(VARIANTS.items()):
                cells = train(params(task, algorithm, seed, changes), Path(scratch, str(number)))
                print(f"| {name} | {seed} | {cells} |", flush=True)
            weights = Path(scratch, "0", "checkpoint")
            (work,) = Path(scratch, "0").glob("work/*/checkpoints")
            sorted(work.iterdir())[-1].rename(weights)
            start = {
                "sha256": sha256_file(weights / "state.json"),
                "parts": "all",
                "first_actions": "policy",
            }
            changes = {
                "training": {"warm_start": start, "total_steps": 500, "random_steps": 200},
                "task": {"options": {"g": 12.0}},
            }
            tree = params(PENDULUM, "sac", seed + 100, changes)
            cells = train(tree, Path(scratch, "warm"), warm_start=weights)
            print(
                f"| g = 12 instead of 10, begun with the default's weights | {seed} | {cells} |", flush=True
            )
            tree["training"]["warm_start"] = None
            cells = train(tree, Path(scratch, "cold"))
            print(f"| g = 12 instead of 10, begun anew | {seed} | {cells} |", flush=True)


if __name__ == "__main__":
    main([int(seed) for seed in sys.argv[1:]] or [1])
