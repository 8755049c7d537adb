"""A small bundle whose policy was made by hand: action = clip(x0 - x1, -1, 1)."""

import pytest
from bundle_factories import make_contract, make_golden, make_onnx, make_spec, term_tree

from sacpipe.bundle.writer import write_bundle

SPEC = make_spec(
    observation=[term_tree("left", 1), term_tree("right", 1)],
    action=[{"name": "gripper", "unit": "N", "low": -1.0, "high": 1.0}],
)


@pytest.fixture(scope="session")
def policy_onnx():
    model = make_onnx([[1], [-1]], low=[-1], high=[1], terms={"left": 1, "right": 1})
    return model.SerializeToString(deterministic=True)


@pytest.fixture
def golden():
    return make_golden(SPEC, [[0.5, 0.25], [3.0, 1.0], [0.0, 9.0]], [[0.25], [1.0], [-1.0]])


@pytest.fixture(scope="session", name="make_contract")
def make_contract_fixture(policy_onnx):
    """Return a function that makes the contract, with changes to the task."""
    provenance = {"algorithm": "sac", "digests": {"policy": "ab" * 32, "params": "cd" * 32}}
    return lambda **spec: make_contract(policy_onnx, SPEC.replace(**spec), provenance=provenance)


@pytest.fixture
def bundle(tmp_path, policy_onnx, golden, make_contract):
    """Write the bundle and return its folder."""
    write_bundle(tmp_path / "bundle", policy_onnx, make_contract(), golden)
    return tmp_path / "bundle"
