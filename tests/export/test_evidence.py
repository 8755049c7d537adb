"""Golden steps, ranges and constant runs come from the pool, in the terms of the policy."""

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree

from sacpipe.bundle.contract import Provenance
from sacpipe.core.errors import ExportError
from sacpipe.export.evidence import gather_evidence, recorded_observations
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.records import Transition

SPEC = make_spec(
    observation=[
        term_tree("secret", 1, groups=["critic"]),
        term_tree("state", 2),
        term_tree("camera", 2, 2, 1, dtype="uint8"),
        term_tree("command", groups=["policy"]),
    ]
)
PROVENANCE = Provenance(algorithm="sac", digests={})


def observed(step):
    """The state rises by a tenth a step, the command changes at every third, the camera at every fifth."""
    camera = np.full((2, 2, 1), step // 5, np.uint8)
    state = np.array([step / 10, -step / 10], np.float32)
    arrays = {
        "secret": np.float32([99.0]),
        "state": state,
        "camera": camera,
        "command": np.float32(step // 3),
    }
    return SPEC.layout.pack(arrays)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Two episodes of 10 steps in segments of 4."""
    folder = tmp_path_factory.mktemp("pool") / "pool"
    writer = PoolWriter.create(folder, SPEC, PoolConfig(segment_transitions=4, format="full"))
    for step in range(20):
        action = np.zeros(2, np.float32)
        ends = step % 10 == 9
        writer.append(Transition(observed(step), action, 0.0, observed(step + 1), False, ends, step // 10))
    writer.finish()
    return ReplayPool.open(folder)


def test_the_first_steps_are_the_golden_ones(pool):
    recorded = recorded_observations(pool, 6)
    np.testing.assert_array_equal(recorded["state"][:6, 0], np.float32([0.0, 0.1, 0.2, 0.3, 0.4, 0.5]))
    assert recorded["camera"][:6, 0, 0, 0].tolist() == [0, 0, 0, 0, 0, 1]
    assert recorded["state"].shape == (26, 2)


def test_evidence_is_in_the_terms_of_the_policy(pool):
    evidence = gather_evidence(pool, SPEC.policy_spec, 3, PROVENANCE)
    assert evidence.observations.layout == SPEC.policy_spec.layout
    assert set(evidence.observations) == {"state", "camera", "command"}
    envelope = evidence.envelope
    assert envelope.high == {"state": (float(np.float32(1.9)), 0.0), "command": (6.0,)}
    assert envelope.low == {"state": (0.0, float(np.float32(-1.9))), "command": (0.0,)}


def test_the_longest_runs_stay_within_their_episodes(pool):
    """The command of steps 9 to 11 is 3, but an episode ends after step 9."""
    envelope = gather_evidence(pool, SPEC.policy_spec, 3, PROVENANCE).envelope
    assert envelope.longest_constant == {"state": 1, "camera": 5, "command": 3}


def test_a_pool_that_is_shorter_than_the_golden_sequence_is_refused(pool):
    with pytest.raises(ExportError, match="expected at most the 20 recorded steps of the pool, found 21"):
        recorded_observations(pool, 21)
