"""Made-up tasks and batches for the contract test of a learner."""

from collections.abc import Mapping

import numpy as np

from sacpipe.replay.view import Gathered
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch
from sacpipe.specs.terms import BOTH, Group, Term, vector_term

_ONLY_CRITICS: tuple[Group, ...] = ("critic",)


def learner_tasks() -> Mapping[str, EnvSpec]:
    """Return tasks with observations of every kind, by a name for messages."""
    state = vector_term("state", 3, unit="1", source="test")
    speed = Term(name="speed", shape=(), dtype="float32", unit="m/s", source="test", groups=BOTH)
    goal = Term(name="goal", shape=(2, 2), dtype="float32", unit="m", source="test", groups=("policy",))
    mass = vector_term("mass", 2, unit="kg", source="test", groups=_ONLY_CRITICS)
    camera = Term(name="camera", shape=(14, 12, 2), dtype="uint8", unit="1", source="test", groups=BOTH)
    view = Term(name="view", shape=(14, 12, 2), dtype="uint8", unit="1", source="test", groups=("policy",))
    return {
        "one vector": _task(state),
        "several terms": _task(state, speed, goal),
        "a term for critics only": _task(mass, state, speed),
        "an image and a vector": _task(camera, state),
        "an image, a vector and a term for critics only": _task(camera, state, mass),
        "an image for the policy only and a term for critics only": _task(view, mass),
    }


def _task(*terms: Term) -> EnvSpec:
    return EnvSpec.parse(
        {
            "task": "test/learner-v0",
            "observation": [term.as_tree() for term in terms],
            "action": [
                {"name": f"joint_{index}", "unit": "1", "low": -2.0, "high": 1.0} for index in range(2)
            ],
            "control_period_s": None,
            "max_episode_steps": 100,
        }
    )


def draw_observations(spec: EnvSpec, seed: int, count: int) -> Observation:
    """Return random observations, the same ones for the same seed."""
    random = np.random.default_rng(seed)
    found = spec.layout.empty(count)
    found.vector[...] = 2.0 * random.standard_normal(found.vector.shape, dtype=np.float32) + 1.0
    for image in found.images.values():
        image[...] = random.integers(0, 256, image.shape, dtype=np.uint8)
    return found


def draw_batch(spec: EnvSpec, seed: int, size: int, discount: float) -> Batch:
    """Return a batch of random transitions, one in four of them terminated.

    Its arrays are views of packed records, as the samplers' are.
    """
    random = np.random.default_rng(seed + 1000)
    terminated = random.random(size) < 0.25
    batch = Gathered(spec, size).batch(np.where(terminated, np.float32(0.0), np.float32(discount)))
    batch.actions[...] = random.uniform(-1.0, 1.0, (size, spec.action_dim))
    batch.rewards[...] = random.standard_normal(size, dtype=np.float32)
    for number, target in enumerate((batch.observations, batch.next_observations)):
        drawn = draw_observations(spec, 2 * seed + number, size)
        for name, array in drawn.items():
            target[name][...] = array
    return batch
