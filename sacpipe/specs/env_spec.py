"""What an algorithm, a pool or a bundle may know of a task: its terms, bounds, clock and time limit."""

from collections.abc import Callable
from typing import Self

import numpy as np
from pydantic import Field, model_validator

from sacpipe.core.config import Config
from sacpipe.core.errors import ContractError
from sacpipe.specs.records import FloatArray


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
