"""A training run of 150 steps on the point mass, for the tests: its params, and ways to stop it."""

import json
from dataclasses import dataclass, field

import factories

from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

OWN = factories.make_params(
    seed=3,
    algorithm={
        "network": {"name": "mlp", "hidden_dims": [8, 8]},
        "discount": 0.9,
        "tau": 0.05,
        "critic_learning_rate": 3e-3,
        "actor_learning_rate": 3e-3,
        "normalise_observations": True,
        "temperature": {
            "mode": "automatic",
            "initial": 0.2,
            "learning_rate": 3e-3,
            "objective": "log_temperature",
            "target_entropy_per_dimension": -1.0,
        },
    },
    replay={"capacity": 90, "segment_transitions": 40},
    training={
        "total_steps": 150,
        "random_steps": 20,
        "batch_size": 8,
        "evaluation_interval_steps": 50,
        "evaluation_episodes": 2,
        "log_interval_steps": 25,
        "checkpoint_interval_steps": 30,
    },
)
PARAMS = {name: OWN[name] for name in TrainParams.model_fields}
KEY = "a" * 64


def make_params(**changes):
    tree = json.loads(json.dumps(PARAMS))
    for path, value in changes.items():
        section, _, key = path.partition("__")
        if key:
            tree[section][key] = value
        else:
            tree[section] = value
    return TrainParams.parse(tree)


@dataclass
class Onlooker:
    """Follows progress, and asks to stop at given steps."""

    stops: set[int] = field(default_factory=set)
    steps: list[int] = field(default_factory=list)
    calls: int = 0

    def update(self, env_steps, latest_return):
        self.steps.append(env_steps)

    def should_stop(self):
        self.calls += 1
        return self.calls in self.stops


class KillError(Exception):
    """Not caught anywhere: files keep what was written after the last checkpoint."""


class Killer(Onlooker):
    """Stands for a kill at step 101; checkpoints are at 90 and 120."""

    def should_stop(self):
        self.calls += 1
        if self.calls == 101:
            raise KillError
        return False


def run_once(folder, params=None, onlooker=None, key="k", pool=None):
    onlooker = onlooker or Onlooker()
    run = open_run(params or make_params(), folder / "work", key, initial_pool=pool)
    try:
        train(run, onlooker.should_stop, onlooker)
        return publish(run, folder / "out")
    finally:
        run.close()


def rows(folder):
    return [json.loads(line) for line in (folder / "out" / "metrics.jsonl").read_text().splitlines()]


def extended(tmp_path, total_steps, pool=None, first=None, **changes):
    """Run to 150 steps under one key, then on under another; `first` changes the first run's params."""
    run_once(tmp_path, make_params(**first or {}), key=KEY)
    params = make_params(
        training=PARAMS["training"] | {"total_steps": total_steps, "extends": KEY}, **changes
    )
    run = open_run(params, tmp_path / "longer", "longer", base=tmp_path / "work", initial_pool=pool)
    try:
        train(run, lambda: False, Onlooker())
        return publish(run, tmp_path / "longer-out")
    finally:
        run.close()
