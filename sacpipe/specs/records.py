"""The small records that cross borders: a task's specification, a step, a batch.

Arrays are float32 at every border. Singular names are one step, plural names are arrays of steps.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from sacpipe.core.config import Config
from sacpipe.core.errors import ContractError

FloatArray = NDArray[np.float32]


class ObservationTerm(Config):
    """A named run of entries in the observation vector."""

    name: str
    size: int = Field(ge=1)
    """Entries."""
    unit: str
    """SI unit or `mixed` or `unknown`."""
    source: str
    """Where the simulator takes it from, for whoever wires the robot."""


class ActionTerm(Config):
    """One entry of the action vector, in the task's own units."""

    name: str
    unit: str
    low: float
    high: float

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, found low={self.low} high={self.high}")
        return self


class EnvSpec(Config):
    """All an algorithm, a pool or a bundle may know of a task."""

    task: str
    """`universe/id`, e.g. `gymnasium/HalfCheetah-v5`."""
    observation: tuple[ObservationTerm, ...] = Field(min_length=1)
    action: tuple[ActionTerm, ...] = Field(min_length=1)
    control_period_s: float | None = Field(gt=0)
    """Time between two actions, or null where the task has no clock."""
    max_episode_steps: int | None = Field(ge=1)
    """Time limit after which an episode is truncated, or null."""

    @property
    def observation_dim(self) -> int:
        """Length of the observation vector."""
        return sum(term.size for term in self.observation)

    @property
    def action_dim(self) -> int:
        """Length of the action vector."""
        return len(self.action)

    @property
    def action_low(self) -> FloatArray:
        """Lowest action in task units. Shape (action_dim,)."""
        return np.array([term.low for term in self.action], dtype=np.float32)

    @property
    def action_high(self) -> FloatArray:
        """Highest action in task units. Shape (action_dim,)."""
        return np.array([term.high for term in self.action], dtype=np.float32)

    def to_task_units(self, action: FloatArray) -> FloatArray:
        """Map an action from [-1, 1], clipped, to the task's units. Shape (..., action_dim)."""
        low, high = self.action_low, self.action_high
        clipped = np.clip(action, np.float32(-1.0), np.float32(1.0))
        scaled = low + (clipped + np.float32(1.0)) * np.float32(0.5) * (high - low)
        return np.clip(scaled, low, high).astype(np.float32)


def to_unit_range(spec: EnvSpec) -> Callable[[FloatArray], FloatArray]:
    """Return what maps an action in the task's own units to [-1, 1]."""
    low = spec.action_low.astype(np.float64)
    half_span = 0.5 * (spec.action_high.astype(np.float64) - low)

    def rescale(given: FloatArray) -> FloatArray:
        action = np.asarray(given, dtype=np.float64)
        if action.shape != low.shape:
            raise ContractError(
                f"task '{spec.task}': expected an action of shape {low.shape}, found {action.shape}."
                " Does the policy belong to this task?"
            )
        return ((action - low) / half_span - 1.0).astype(np.float32)

    return rescale


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
