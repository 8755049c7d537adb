"""Valid sections of params.yaml for the tests, each with one set of defaults; bundles are in `bundle_factories`.

Every argument replaces a default. No factory needs torch.
"""

import copy
from functools import cache
from typing import Any

from bundle_factories import make_bundle, make_contract, make_onnx, make_spec  # noqa: F401
from ruamel.yaml import YAML

from sacpipe.algorithms import ALGORITHMS
from sacpipe.envs.point_mass import PointMassTask
from sacpipe.params.defaults import params_text

SUITE_TASKS = {
    "gymnasium": "InvertedDoublePendulum-v5",
    "dm_control": "cartpole-swingup",
    "gymnasium_robotics": "FetchReach-v4",
    "point_mass": "point-mass-v0",
    "robosuite": "Lift",
    "softlearning": "MultiGoal-Default-v0",
}
"""One task of every suite."""


def make_params(name: str = "point_mass/point-mass-v0", **changes: Any) -> dict[str, Any]:
    """The tree of a new params.yaml; a change to a section may hold some of its keys alone."""
    tree = copy.deepcopy(_params(name))
    for key, value in changes.items():
        tree[key] = tree[key] | value if isinstance(value, dict) else value
    return tree


@cache
def _params(name: str) -> dict[str, Any]:
    text = params_text(name, steps=None, seed=1, preset="paper")
    return YAML(typ="safe").load(text)


def make_point_mass(*, metrics: tuple[str, ...] = (), **options: Any) -> PointMassTask:
    """The `task` section of the point mass, with options."""
    return PointMassTask(suite="point_mass", id="point-mass-v0", options=options, metrics=metrics)


def make_algorithm(name: str = "sac", **changes: Any) -> Any:
    """The `algorithm` section of a registered algorithm, with networks of 8 units."""
    tree = make_params()["algorithm"] if name == "sac" else ALGORITHMS.find(name).example().as_tree()
    network = {"network": {"name": "mlp", "hidden_dims": [8, 8]}}
    return ALGORITHMS.find(name).parse(tree | network | changes, where="algorithm")
