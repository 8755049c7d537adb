"""The small records that packages exchange: a step, a transition, a batch.

All arrays are float32. A singular name is one step, a plural name an array of steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Step(NamedTuple):
    """Result of one environment step."""

    observation: FloatArray
    """Shape (observation_dim,)."""
    reward: float
    """In task units."""
    terminated: bool
    """The task itself ended: there is no next value to bootstrap from."""
    truncated: bool
    """A time limit ended the episode: the next value is still bootstrapped."""


class Transition(NamedTuple):
    """One step as the replay pool stores it. The action is in [-1, 1]."""

    observation: FloatArray
    action: FloatArray
    reward: float
    next_observation: FloatArray
    terminated: bool
    truncated: bool
    episode_id: int


@dataclass(frozen=True)
class Batch:
    """B transitions as arrays."""

    observations: FloatArray
    """Shape (B, observation_dim)."""
    actions: FloatArray
    """In [-1, 1]. Shape (B, action_dim)."""
    rewards: FloatArray
    """In task units. Shape (B,)."""
    next_observations: FloatArray
    """Shape (B, observation_dim)."""
    terminations: FloatArray
    """1.0 where the task itself ended, else 0.0. Shape (B,)."""
