"""The small records that packages exchange: a step, a transition, a batch.

A singular name is one step, a plural name an array of steps.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.specs.observation import Observation

FloatArray = NDArray[np.float32]

RecordedRewards = Callable[[Observation, FloatArray, Observation], tuple[FloatArray, FloatArray]]
"""Maps N observations, actions in [-1, 1] and next observations to rewards in task units and terminations,
shape (N,); a termination is 1.0 where the task itself ended, else 0.0."""

NO_METRICS: Mapping[str, float] = MappingProxyType({})


class Step(NamedTuple):
    """Result of one environment step."""

    observation: Observation
    reward: float
    """In task units."""
    terminated: bool
    """The task itself ended: there is no next value to bootstrap from."""
    truncated: bool
    """A time limit ended the episode: the next value is still bootstrapped."""
    metrics: Mapping[str, float] = NO_METRICS
    """Entries of the task's `info` that `task.metrics` names, e.g. reward terms and success."""


class Transition(NamedTuple):
    """One step as the replay pool stores it. The action is in [-1, 1]."""

    observation: Observation
    action: FloatArray
    reward: float
    next_observation: Observation
    terminated: bool
    truncated: bool
    episode_id: int


@dataclass(frozen=True)
class Batch:
    """B transitions as arrays."""

    observations: Observation
    """B observations."""
    actions: FloatArray
    """In [-1, 1]. Shape (B, action_dim)."""
    rewards: FloatArray
    """In task units; of n steps, their discounted sum. Shape (B,)."""
    next_observations: Observation
    """B observations, those whose value the target bootstraps from."""
    discounts: FloatArray
    """Factor of the next value: the discount per step to the power of the number of steps, and 0 where the
    task itself ended. Shape (B,)."""
    weights: FloatArray | None = None
    """Factors of the rows in the critics' loss; None for 1 each. A sampler that draws some transitions more
    often than others corrects for it by these. Positive. Shape (B,)."""
