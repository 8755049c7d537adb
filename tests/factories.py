"""Valid task specs, graphs, contracts, bundles and params for the tests, each with one set of defaults.

Every argument replaces a default. Numbers that a test computes by hand stay in that test. No factory
needs torch, and `onnx` is imported only where a graph is made.
"""

import copy
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ruamel.yaml import YAML

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.contract import Contract
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.guard_settings import GuardSettings
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.writer import write_bundle
from sacpipe.core.config import Config
from sacpipe.envs.point_mass import PointMassTask
from sacpipe.params.defaults import params_text
from sacpipe.specs.env_spec import EnvSpec

if TYPE_CHECKING:
    from onnx import ModelProto

SUITE_TASKS = {
    "gymnasium": "InvertedDoublePendulum-v5",
    "dm_control": "cartpole-swingup",
    "point_mass": "point-mass-v0",
}
"""One task of every suite."""


def make_spec(
    observation_dim: int = 3, bounds: Sequence[tuple[float, float]] = ((-1.0, 1.0),) * 2, **changes: Any
) -> EnvSpec:
    """A task with one observation term, and one joint for each pair of action bounds."""
    tree = {
        "task": "example/Reach-v0",
        "observation": [{"name": "state", "size": observation_dim, "unit": "m", "source": "simulator"}],
        "action": [
            {"name": f"joint_{index}", "unit": "N m", "low": low, "high": high}
            for index, (low, high) in enumerate(bounds)
        ],
        "control_period_s": 0.02,
        "max_episode_steps": 100,
    }
    return EnvSpec.parse(tree | changes)


def make_onnx(
    weight: Any, *, bias: Any = None, low: Any = None, high: Any = None, **names: str
) -> "ModelProto":
    """The policy action = min(max(observation @ weight + bias, low), high); None leaves an operation out.

    Args:
        weight: Shape (observation_dim, action_dim).
        bias: Shape (action_dim,), as `low` and `high`.
        names: Of `input`, `output` and the `batch` dimension.
    """
    from onnx import TensorProto, helper, numpy_helper

    tensors = {"weight": weight, "bias": bias, "low": low, "high": high}
    arrays = {name: np.array(rows, np.float32) for name, rows in tensors.items() if rows is not None}
    operators = {"weight": "MatMul", "bias": "Add", "low": "Max", "high": "Min"}
    results = {"weight": "product", "bias": "scaled", "low": "floored", "high": "limited"}
    values = [names.get("input", "observation"), *(results[name] for name in arrays)]
    values[-1] = names.get("output", "action")
    ends = [
        helper.make_tensor_value_info(value, TensorProto.FLOAT, [names.get("batch", "batch"), size])
        for value, size in zip((values[0], values[-1]), arrays["weight"].shape, strict=True)
    ]
    graph = helper.make_graph(
        [
            helper.make_node(operators[name], [before, name], [after])
            for name, before, after in zip(arrays, values[:-1], values[1:], strict=True)
        ],
        "policy",
        ends[:1],
        ends[1:],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def make_contract(policy_onnx: bytes, spec: EnvSpec, **changes: Any) -> Contract:
    """The contract of a policy; each change replaces a top-level key."""
    tree = {
        "format_version": FORMAT_VERSION,
        "spec": spec.as_tree(),
        "onnx": {
            "input_name": "observation",
            "input_dtype": "float32",
            "output_name": "action",
            "output_dtype": "float32",
        }
        | read_graph(policy_onnx)._asdict(),
        "parity": {"tolerance": 1e-5, "max_error": 0.0, "synthetic_max_error": 0.0, "num_observations": 3},
        "golden": {"tolerance": 1e-5, "num_steps": 3},
        "guards": make_guards().as_tree(),
        "envelope": {"low": [-10.0] * spec.observation_dim, "high": [10.0] * spec.observation_dim},
        "provenance": {"algorithm": "sac", "digests": {}},
    }
    return Contract.parse(tree | changes)


def make_bundle(
    folder: Path, model: "ModelProto", spec: EnvSpec, observations: Any, actions: Any, **contract: Any
) -> Path:
    """Write the bundle of a policy whose golden sequence is `observations` and `actions`; return its folder."""
    policy_onnx = model.SerializeToString(deterministic=True)
    golden = Golden(np.asarray(observations, np.float32), np.asarray(actions, np.float32))
    terms = {"golden": {"tolerance": 1e-5, "num_steps": len(golden.observations)}}
    write_bundle(folder, policy_onnx, make_contract(policy_onnx, spec, **terms | contract), golden)
    return folder


def make_guards(**changes: Any) -> GuardSettings:
    """The guards of a new params.yaml; `fallbacks` may hold some of the causes alone."""
    tree = make_params()["guards"]
    fallbacks = tree["fallbacks"] | changes.get("fallbacks", {})
    return GuardSettings.parse(tree | changes | {"fallbacks": fallbacks})


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


def make_point_mass(**options: Any) -> PointMassTask:
    """The `task` section of the point mass, with options."""
    return PointMassTask.parse(make_params(task={"options": options})["task"])


def make_algorithm(kind: type[Config], **changes: Any) -> Any:
    """The `algorithm` section of a member of the table, with networks of 8 units."""
    examples = {"SACConfig": make_params()["algorithm"]}
    return kind.parse(examples[kind.__name__] | {"hidden_dims": [8, 8]} | changes, where="algorithm")
