"""Soft Q-learning on MultiGoal: how many of 100 stochastic episodes reach each of four equal goals.

    python benchmarks/multi_goal.py run [SEED...]   train the seeds, one after the other, 10,000 steps each
    python benchmarks/multi_goal.py draw            docs/multi-goal.svg of the first seed, the table of all

Runs are in .multi_goal; one that is started again continues from its checkpoint, a finished one is not run
twice. Sizes are those of Softlearning's example (examples/multi_goal/main.py at 13cf187), learning rates are
ours.
"""

import json
import math
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import report
from contender import Silent, make_params
from report import ROOT

from sacpipe.core.files import write_json, write_text
from sacpipe.envs.softlearning.multi_goal import GOAL_RADIUS_M, GOALS_M
from sacpipe.report.plane_data import NUM_PATHS, Plane, action_values, sample_paths
from sacpipe.report.sections.paths import standalone
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.resume import open_run
from sacpipe.training.run import Run

TASK = "softlearning/MultiGoal-Default-v0"
STEPS, SEEDS, EPISODES = 10_000, (1, 2, 3), 100
FOLDER = ROOT / ".multi_goal"


class Found(NamedTuple):
    """Where the stochastic episodes of a finished run ended."""

    shares: list[float]
    """Of the episodes that reached each goal, in the order of `GOALS_M`."""
    furthest_m: float
    """Largest distance of an episode's last position to the nearest goal."""
    seconds: float
    """Processor time of the training."""


def params_of(seed: int) -> TrainParams:
    """Return the params of a run."""
    params = make_params(
        TASK, STEPS, seed, algorithm="sql", hidden_dims=None, evaluation_interval_steps=1000, batch_size=64
    )
    algorithm = params.algorithm.as_tree() | {"num_particles": 32}
    rates = {"critic_learning_rate": 1e-3, "actor_learning_rate": 1e-3}
    return TrainParams.parse(params.as_tree() | {"algorithm": algorithm | rates})


def opened(seed: int) -> Run:
    """Return a run at the step where it continues."""
    params = params_of(seed)
    pin_arithmetic(params.engine.num_threads)
    return open_run(params, FOLDER / f"seed-{seed}", params.digest())


def run_seed(seed: int) -> None:
    """Train one seed, and write where its episodes end."""
    start = time.process_time()
    run = opened(seed)
    train(run, lambda: False, Silent())
    run.checkpoint()
    seconds = time.process_time() - start
    paths = sample_paths(run.learner.act, run.evaluator.environment, EPISODES, seed)
    ends = [path[-1] for path in paths]
    distances = [[math.dist(end, goal) for goal in GOALS_M] for end in ends]
    reached = Counter(one.index(min(one)) for one in distances if min(one) < GOAL_RADIUS_M)
    shares = [reached[goal] / EPISODES for goal in range(len(GOALS_M))]
    found = Found(shares, max(min(one) for one in distances), round(seconds, 1))
    run.close()
    write_json(FOLDER / f"seed-{seed}.json", found._asdict())
    print(f"seed {seed}: {found}", flush=True)


def draw() -> None:
    """Draw the first seed's figure, and write the table of all."""
    found = {seed: Found(**json.loads(path.read_text())) for seed in SEEDS if (path := result(seed)).exists()}
    if SEEDS[0] not in found:
        sys.exit(f"{FOLDER} has no finished run of seed {SEEDS[0]}; the word `run` makes it.")
    run = opened(SEEDS[0])
    paths = sample_paths(run.learner.act, run.evaluator.environment, NUM_PATHS, SEEDS[0])
    figure = Plane(paths, action_values(run.learner, run.spec, SEEDS[0]))  # type: ignore[arg-type]
    run.close()
    write_text(ROOT / "docs" / "multi-goal.svg", standalone(figure))
    head = (
        "seed",
        *(f"goal ({x:g}, {y:g})" for x, y in GOALS_M),
        "furthest end from a goal",
        "processor time",
    )
    rows = [
        (
            str(seed),
            *(f"{share:.0%}" for share in one.shares),
            f"{one.furthest_m:.3f} m",
            f"{one.seconds:.0f} s",
        )
        for seed, one in found.items()
    ]
    text = (
        f"![paths and values](multi-goal.svg)\n\nShares of {EPISODES} stochastic episodes that reached each "
        f"goal after {STEPS:,} steps; at least 10 % each was asked for, and every end within "
        f"{GOAL_RADIUS_M:g} m.\n\n"
    )
    figures: dict[str, Any] = {"seeds": {str(seed): one._asdict() for seed, one in found.items()}}
    report.write("multi_goal", ["sacpipe", "torch"], figures, text + report.table(head, rows))


def result(seed: int) -> Path:
    """Return the file of a finished run."""
    return FOLDER / f"seed-{seed}.json"


if __name__ == "__main__":
    keep_freed_memory()
    match sys.argv[1:]:
        case ["run", *seeds]:
            for number in map(int, seeds) if seeds else SEEDS:
                if not result(number).exists():
                    run_seed(number)
        case ["draw"]:
            draw()
        case _:
            sys.exit(__doc__)
