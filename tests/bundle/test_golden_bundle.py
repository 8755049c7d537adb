"""A bundle of format 3 that is stored as files: it opens, acts as it did, and is written the same again."""

from pathlib import Path

import golden_bundle
import numpy as np
import pytest

from sacpipe.bundle.reader import open_bundle
from sacpipe.robot.policy import OnnxPolicy

FOLDER = Path(__file__).parent / "bundle_v3"
DIGEST = "0827dda2039618ff201ee54892190c23e9c24053f941d0a6a8af1f048ae73467"


@pytest.fixture(scope="module")
def opened():
    return open_bundle(FOLDER)


def test_opens_with_the_digest_that_it_had(opened):
    assert opened.digest == DIGEST


def test_holds_the_terms_and_the_golden_sequence(opened):
    assert opened.contract.spec == golden_bundle.SPEC
    for name, array in golden_bundle.OBSERVATIONS.items():
        np.testing.assert_array_equal(opened.golden.observations[name], array)
    assert opened.golden.noise.tolist() == golden_bundle.NOISE
    assert opened.golden.actions.tolist() == golden_bundle.ACTIONS


def test_acts_as_it_did(opened):
    policy = OnnxPolicy(opened)
    for row, expected in enumerate(golden_bundle.ACTIONS):
        seen = {name: array[row] for name, array in golden_bundle.OBSERVATIONS.items()}
        assert policy.act(seen, np.float32(golden_bundle.NOISE[row])).tolist() == expected


def test_is_written_the_same_again(tmp_path, opened):
    """All but the graph, which other versions of onnx may write with other bytes."""
    golden_bundle.write(tmp_path / "made")
    again = open_bundle(tmp_path / "made")
    for name in ("golden.npz", "contract.json"):
        assert (tmp_path / "made" / name).read_bytes() == (FOLDER / name).read_bytes()
    assert again.golden.observations.equals(opened.golden.observations)
