"""The small records that cross borders: a step, a transition, a batch.

Arrays are float32 at every border. Singular names are one step, plural names are arrays of steps.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


class Step(NamedTuple):
    """What one environment step gives."""

    observation: FloatArray
    """Shape (observation_dim,)."""
    reward: float
    terminated: bool
    """The task itself ended; there is no future to bootstrap from."""
    truncated: bool
    """A time limit cut the episode; the future exists."""


class Transition(NamedTuple):
    """One step as the replay pool keeps it. Actions are in [-1, 1]."""

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
