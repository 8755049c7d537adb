"""The range of training with its margin, as float32."""

import numpy as np
import pytest
from bundle_factories import make_contract, make_onnx, make_spec, term_tree

from sacpipe.robot.guards.envelope_range import EnvelopeRange

SPEC = make_spec(observation=[term_tree("both", 1), term_tree("own", 2, groups=["policy"])])
MODEL = make_onnx(np.zeros((3, 2)), terms={"both": 1, "own": 2}).SerializeToString()


def make_range(low, high, margin):
    envelope = {"low": low, "high": high, "longest_constant": {"both": 1, "own": 1}}
    return EnvelopeRange(make_contract(MODEL, SPEC, envelope=envelope), margin)


def test_entries_are_in_the_order_of_the_packed_vector():
    """What the policy alone sees is first: low - half the range, high + half of it."""
    found = make_range({"both": [0], "own": [-4, 1]}, {"both": [2], "own": [4, 1]}, 0.5)
    assert found.low.tolist() == [-8, 1, -1]
    assert found.high.tolist() == [8, 1, 3]
    assert {found.low.dtype, found.high.dtype} == {np.dtype(np.float32)}


@pytest.mark.parametrize(
    ("values", "is_outside"),
    [
        ([-8, 1, -1], False),
        ([8, 1, 3], False),
        ([-8.01, 1, 0], True),
        ([0, 1.01, 0], True),
        ([0, 1, 3.01], True),
    ],
)
def test_the_limits_are_inside(values, is_outside):
    found = make_range({"both": [0], "own": [-4, 1]}, {"both": [2], "own": [4, 1]}, 0.5)
    observation = SPEC.layout.empty()
    observation.vector[:] = values
    assert found.is_outside(observation) is is_outside


def test_the_widest_envelope_is_still_float32():
    """Its margin is added in float64, and would be infinite as float32."""
    largest = float(np.finfo(np.float32).max)
    low, high = {"both": [-largest], "own": [-largest] * 2}, {"both": [largest], "own": [largest] * 2}
    found = make_range(low, high, 1e6)
    assert found.low.tolist() == [-largest] * 3
    assert found.high.tolist() == [largest] * 3
