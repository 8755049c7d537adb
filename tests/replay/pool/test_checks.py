"""The full check: what cannot have been recorded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sacpipe.core.errors import PoolCorruptError
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Transition

Walk = Callable[..., list[Transition]]
Write = Callable[..., Path]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reward": float("nan")}, "expected finite numbers in rewards, found nan at step 5"),
        (
            {"state": np.array([0, np.inf, 0])},
            "expected finite numbers in observations, found inf at step 5",
        ),
        ({"action": np.array([0, -1.5])}, r"expected values in \[-1, 1\] in actions, found -1.5 at step 5"),
        ({"terminated": 0.5}, "expected 0 or 1 in terminations, found 0.5 at step 5"),
        ({"truncated": 2}, "expected 0 or 1 in truncations, found 2.0 at step 5"),
        ({"episode_id": 0}, "expected episode ids that never fall, found a lower one at step 5"),
        (
            {"state": np.zeros(3)},
            "expected the next observation of the step before, found another observation.*step 5",
        ),
        ({"terminated": True, "episode_id": 1}, "expected a new episode id after an end.*step 6"),
    ],
)
@pytest.mark.parametrize("size", [2, 5, 6, 100])  # the fault is inside a segment, and at both its ends
def test_check_refuses_what_cannot_have_been_recorded(
    write: Write, walk: Walk, size: int, change: dict[str, Any], message: str
) -> None:
    transitions = walk(9, seed=3)
    assert [t.episode_id for t in transitions][3:8] == [1, 1, 1, 1, 1]
    if "state" in change:
        changed = transitions[5].observation.copy()
        changed["state"][...] = change["state"]
        change = {"observation": changed}
    transitions[5] = transitions[5]._replace(**change)
    with pytest.raises(PoolCorruptError, match=message):
        ReplayPool.open(write(transitions, size=size)).check()


def test_check_refuses_an_image_that_does_not_follow(write: Write, walk: Walk, spec: EnvSpec) -> None:
    transitions = walk(9, seed=3)
    for name, image in transitions[5].observation.images.items():
        changed = image.copy()
        changed[-1, -1, -1] ^= 1
        observation = transitions[5].observation.copy()
        observation.images[name] = changed
        transitions[5] = transitions[5]._replace(observation=observation)
        with pytest.raises(
            PoolCorruptError, match=r"expected the next observation of the step before.*step 5"
        ):
            ReplayPool.open(write(transitions)).check()
