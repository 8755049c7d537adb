"""A second level on a latent-space policy: does it do better than the lower level alone?

    python benchmarks/hierarchy.py run TASK LOWER+UPPER SEED...   train both levels of each seed
    python benchmarks/hierarchy.py draw                           the table, in docs/results.md

For each seed a policy of `lsp` is trained; then another run has it as its lower level, with the same reward.
Both are evaluated on the same 10 deterministic episodes; the interval is that of the mean of the paired
differences over seeds. Runs are in .hierarchy, and continue from their checkpoints.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import report
from contender import Silent, make_params
from paired import interval
from report import ROOT

from sacpipe.core.files import sha256_file, write_json
from sacpipe.core.seeding import episode_seed
from sacpipe.evaluation.episodes import evaluate
from sacpipe.networks.policy_file import write_policy
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.resume import open_run

FOLDER = ROOT / ".hierarchy"
EPISODES = 10


def level(task: str, steps: int, seed: int, name: str, lower: str | None) -> dict[str, Any]:
    """Train one level, and return its returns, processor time and the digest of its policy."""
    start, folder = time.process_time(), FOLDER / task.replace("/", "-") / f"seed-{seed}"
    name = f"{name}-{steps}"
    params = make_params(task, steps, seed, algorithm="lsp", hidden_dims=None)
    below = None if lower is None else {"sha256": lower}
    algorithm = params.algorithm.as_tree() | {"lower": below}
    params = TrainParams.parse(params.as_tree() | {"algorithm": algorithm})
    pin_arithmetic(params.engine.num_threads)
    run = open_run(params, folder / name, params.digest(), warm_start=folder)
    train(run, lambda: False, Silent())
    run.checkpoint()
    learner, seeds = run.learner, [episode_seed(seed, "benchmark/hierarchy", one) for one in range(EPISODES)]
    returns = [
        one.episode_return
        for one in evaluate(lambda seen: learner.act(seen, None), run.evaluator.environment, seeds)
    ]
    write_policy(folder / name / "policy.safetensors", learner.policy())
    run.close()
    digest = sha256_file(folder / name / "policy.safetensors")
    return {"returns": returns, "seconds": round(time.process_time() - start, 1), "policy_sha256": digest}


def run_seed(task: str, steps: Sequence[int], seed: int) -> None:
    """Train both levels of a seed, so many steps each."""
    lower = level(task, steps[0], seed, "lower", None)
    upper = level(task, steps[1], seed, "upper", lower["policy_sha256"])
    found = {"task": task, "steps": list(steps), "seed": seed, "lower": lower, "upper": upper}
    write_json(FOLDER / f"{task.replace('/', '-')}-{steps[0]}-{steps[1]}-{seed}.json", found)
    print(f"seed {seed}: {found}", flush=True)


def draw() -> None:
    """Write the table of all finished seeds."""
    found = [json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))]
    if not found:
        sys.exit(f"{FOLDER} has no finished seed; the word `run` makes it.")
    rows, differences = [], defaultdict(list)
    for one in found:
        lower, upper = (mean(one[name]["returns"]) for name in ("lower", "upper"))
        steps = "{:,} + {:,}".format(*one["steps"])
        differences[f"{one['task']}, {steps} steps"].append(upper - lower)
        seconds = f"{one['lower']['seconds']:.0f} s + {one['upper']['seconds']:.0f} s"
        numbers = (f"{lower:,.1f}", f"{upper:,.1f}", f"{upper - lower:+,.1f}", seconds)
        rows.append((one["task"], steps, str(one["seed"]), *numbers))
    bounds = {name: interval(values) for name, values in differences.items()}
    text = "".join(
        f"\nMean difference, {name}: {low:+,.1f} to {high:+,.1f} (95 %).\n"
        for name, (low, high) in ((name, pair) for name, pair in bounds.items() if pair is not None)
    )
    head = ("task", "steps", "seed", "lower alone", "with upper", "difference", "processor time")
    report.write("hierarchy", ["sacpipe", "torch"], {"seeds": found}, report.table(head, rows) + text)


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


if __name__ == "__main__":
    keep_freed_memory()
    match sys.argv[1:]:
        case ["run", task, steps, *seeds] if seeds:
            for number in map(int, seeds):
                run_seed(task, [int(one) for one in steps.split("+")], number)
        case ["draw"]:
            draw()
        case _:
            sys.exit(__doc__)
