"""A learner whose update is computed by other means; everything else is the learner's own."""

from collections.abc import Sequence

import numpy as np

from sacpipe.algorithms.base import Arrays, EvaluatedEpisode, Learner
from sacpipe.networks.policy_file import Policy
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray


class DelegatingLearner:
    """Passes every call on; an engine's learner overrides `update`, and what else it computes itself.

    Args:
        learner: By autograd.
    """

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    @property
    def gradient_steps(self) -> int:
        """Updates so far."""
        return self._learner.gradient_steps

    @gradient_steps.setter
    def gradient_steps(self, count: int) -> None:
        self._learner.gradient_steps = count

    @property
    def discount(self) -> float:
        """Discount per step."""
        return self._learner.discount

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1]; see `Learner.act`."""
        return self._learner.act(observation, generator)

    def observe(self, observation: Observation) -> None:
        """Take one training observation into the normalisers."""
        self._learner.observe(observation)

    def update(self, batch: Batch) -> None:
        """Make one gradient step; see `Learner.update`."""
        self._learner.update(batch)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        return self._learner.diagnostics()

    def metrics(self) -> dict[str, Metric]:
        """Return unit and meaning of every metric."""
        return self._learner.metrics()

    def describe_episodes(self, episodes: Sequence[EvaluatedEpisode]) -> dict[str, float]:
        """Describe episodes of an evaluation; see `Learner.describe_episodes`."""
        return self._learner.describe_episodes(episodes)

    def policy(self) -> Policy:
        """Return the policy as it leaves training."""
        return self._learner.policy()

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies."""
        return self._learner.state()

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`; see `Learner.load_state`."""
        self._learner.load_state(state)
