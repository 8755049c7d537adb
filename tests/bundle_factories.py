"""Valid task specs, graphs, contracts and bundles for the tests, each with one set of defaults.

Every argument replaces a default. Numbers that a test computes by hand stay in that test. No factory needs
torch, and `onnx` is imported only where a graph is made.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sacpipe.bundle.canonical_json import FORMAT_VERSION
from sacpipe.bundle.contract import Contract, onnx_inputs, onnx_output
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.policy_graph import read_graph
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.bundle.writer import write_bundle
from sacpipe.specs.env_spec import EnvSpec

if TYPE_CHECKING:
    from onnx import ModelProto


def term_tree(name: str, *shape: int, **changes: Any) -> dict[str, Any]:
    """The tree of an observation term that policy and critics see; float32 unless `dtype` says otherwise."""
    tree = {"name": name, "shape": list(shape), "dtype": "float32", "unit": "m", "source": f"sensor/{name}"}
    return tree | {"groups": ["policy", "critic"]} | changes


def make_spec(
    observation_dim: int = 3, bounds: Sequence[tuple[float, float]] = ((-1.0, 1.0),) * 2, **changes: Any
) -> EnvSpec:
    """A task with one observation term `state`, and one joint for each pair of action bounds."""
    tree = {
        "task": "example/Reach-v0",
        "observation": [term_tree("state", observation_dim, source="simulator")],
        "action": [
            {"name": f"joint_{index}", "unit": "N m", "low": low, "high": high}
            for index, (low, high) in enumerate(bounds)
        ],
        "control_period_s": 0.02,
        "max_episode_steps": 100,
    }
    return EnvSpec.parse(tree | changes)


def make_onnx(
    weight: Any,
    *,
    bias: Any = None,
    low: Any = None,
    high: Any = None,
    terms: Mapping[str, int] | None = None,
    **names: str,
) -> "ModelProto":
    """The policy action = min(max(terms @ weight + bias, low), high); None leaves an operation out.

    Args:
        weight: Shape (size of all terms, action_dim).
        bias: Shape (action_dim,), as `low` and `high`.
        terms: Size of each input, by name; `state` alone if None.
        names: Of `output` and the `batch` dimension.
    """
    from onnx import TensorProto, helper, numpy_helper

    tensors = {"weight": weight, "bias": bias, "low": low, "high": high}
    arrays = {name: np.array(rows, np.float32) for name, rows in tensors.items() if rows is not None}
    operators = {"weight": "MatMul", "bias": "Add", "low": "Max", "high": "Min"}
    results = {"weight": "product", "bias": "scaled", "low": "floored", "high": "limited"}
    sizes = dict(terms or {"state": len(arrays["weight"])})
    values = [*sizes][:1] if len(sizes) == 1 else ["joined"]
    values += [results[name] for name in arrays]
    values[-1] = output = names.get("output", "action")
    made = [helper.make_node("Concat", [*sizes], ["joined"], axis=1)] if len(sizes) > 1 else []
    made += [
        helper.make_node(operators[name], [before, name], [after])
        for name, before, after in zip(arrays, values[:-1], values[1:], strict=True)
    ]
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [names.get("batch", "batch"), size])
        for name, size in (*sizes.items(), (output, arrays["weight"].shape[1]))
    ]
    constants = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = helper.make_graph(made, "policy", ports[:-1], ports[-1:], constants)
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def make_runtime(**changes: Any) -> RuntimeSettings:
    """Settings of a runtime whose guards are all the defaults."""
    tree = {
        "safe_action": None,
        "max_last_steps": 3,
        "blend_steps": 0,
        "ramp_steps": 0,
        "stop_category": 1,
        "watchdog_periods": None,
        "term_max_age_periods": {},
        "guards": [],
    }
    return RuntimeSettings.parse(tree | changes)


def make_contract(policy_onnx: bytes, spec: EnvSpec, **changes: Any) -> Contract:
    """The contract of a policy; each change replaces a top-level key, or some keys of `onnx`."""
    sizes = {term.name: term.size for term in spec.layout.vector_terms}
    tree = {
        "format_version": FORMAT_VERSION,
        "spec": spec.as_tree(),
        "golden": {"tolerance": 1e-5, "num_steps": 3},
        "runtime": make_runtime().as_tree(),
        "envelope": {
            "low": {name: [-10.0] * size for name, size in sizes.items()},
            "high": {name: [10.0] * size for name, size in sizes.items()},
            "longest_constant": {term.name: 1 for term in spec.observation},
        },
        "provenance": {"algorithm": "sac", "digests": {}},
    }
    onnx = {
        "inputs": [port.as_tree() for port in onnx_inputs(spec)],
        "noise": None,
        "output": onnx_output(spec).as_tree(),
    }
    onnx |= read_graph(policy_onnx)._asdict() | changes.pop("onnx", {})
    return Contract.parse(tree | {"onnx": onnx} | changes)


def make_golden(spec: EnvSpec, observations: Any, actions: Any, noise: Any = None) -> Golden:
    """A golden sequence.

    Args:
        spec: The task.
        observations: The array of each term, by name, or rows of the packed vector.
        actions: Shape (N, action_dim).
        noise: Shape (N, noise_dim), or None.
    """
    if not isinstance(observations, Mapping):
        rows = np.asarray(observations, np.float32)
        places = {term: spec.layout.columns(term.name) for term in spec.layout.vector_terms}
        observations = {term.name: rows[:, place].reshape(-1, *term.shape) for term, place in places.items()}
    return Golden(
        spec.layout.pack(observations),
        np.asarray(actions, np.float32),
        None if noise is None else np.asarray(noise, np.float32),
    )


def make_bundle(
    folder: Path, model: "ModelProto", spec: EnvSpec, observations: Any, actions: Any, **changes: Any
) -> Path:
    """Write the bundle of a policy with a golden sequence (`make_golden`); return its folder."""
    policy_onnx = model.SerializeToString(deterministic=True)
    golden = make_golden(spec, observations, actions, changes.pop("noise", None))
    sections = {"golden": {"tolerance": 1e-5, "num_steps": len(golden.actions)}}
    if golden.noise is not None:
        sections["onnx"] = {"noise": {"name": "noise", "dim": golden.noise.shape[1]}}
    write_bundle(folder, policy_onnx, make_contract(policy_onnx, spec, **sections | changes), golden)
    return folder
