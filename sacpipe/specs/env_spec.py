"""The specification of a task: its terms, action bounds, control period and time limit.

Algorithms, pools and bundles know a task by its `EnvSpec` only.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Annotated, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from sacpipe.core.config import Config
from sacpipe.core.errors import ContractError
from sacpipe.specs.observation import ObservationLayout
from sacpipe.specs.records import FloatArray
from sacpipe.specs.terms import MAX_ENTRIES, MAX_TERMS, ActionTerm, Term, Text

MIN_PERIOD_S, MAX_PERIOD_S = 1e-9, 86_400.0
"""Shortest and longest control period, in seconds: the runtime counts in nanoseconds."""
MAX_EPISODE_STEPS = 10**12


def _without_module(task: str) -> str:
    if ":" in task:
        raise ValueError("expected suite and id without a module, because no file chooses code")
    return task


class EnvSpec(Config):
    """All that an algorithm, a pool or a bundle knows of a task."""

    task: Annotated[Text, AfterValidator(_without_module)]
    """Task suite and id without the module that registers it, e.g. `gymnasium/HalfCheetah-v5`."""
    observation: tuple[Term, ...] = Field(min_length=1, max_length=MAX_TERMS)
    action: tuple[ActionTerm, ...] = Field(min_length=1, max_length=MAX_TERMS)
    control_period_s: float | None = Field(ge=MIN_PERIOD_S, le=MAX_PERIOD_S)
    """Time between two actions, or null if the task has no clock."""
    max_episode_steps: int | None = Field(ge=1, le=MAX_EPISODE_STEPS)
    """Steps after which an episode is truncated, or null for no time limit."""

    @model_validator(mode="after")
    def _size(self) -> Self:
        if (size := sum(term.size for term in self.observation)) > MAX_ENTRIES:
            raise ValueError(f"observation: expected at most {MAX_ENTRIES} entries in all, found {size}")
        if not any("policy" in term.groups for term in self.observation):
            raise ValueError("observation: expected at least one term of the group `policy`, found none")
        return self

    @model_validator(mode="after")
    def _names(self) -> Self:
        for kind, terms in (("observation", self.observation), ("action", self.action)):
            names = [term.name for term in terms]
            if len(set(names)) != len(names):
                twice = next(name for index, name in enumerate(names) if name in names[:index])
                raise ValueError(
                    f"{kind}: expected each name once, because robots give observations by name; '{twice}' "
                    "is there twice"
                )
        return self

    def __eq__(self, other: object) -> bool:
        """Return whether all fields are equal. The cached `policy_spec` may be the object itself."""
        if not isinstance(other, EnvSpec):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in EnvSpec.model_fields)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in EnvSpec.model_fields))

    @cached_property
    def layout(self) -> ObservationLayout:
        """Places of the observation terms in packed memory."""
        return ObservationLayout(self.observation)

    @cached_property
    def policy_spec(self) -> Self:
        """The same task with the observation terms of the policy only: what a bundle and a robot know."""
        terms = [term.as_tree() for term in self.observation if "policy" in term.groups]
        return self if len(terms) == len(self.observation) else self.replace(observation=terms)

    @property
    def observation_dim(self) -> int:
        """Length of the vector of all float32 observation terms."""
        return self.layout.vector_dim

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
    """Return a function that maps an action in the task's own units to [-1, 1]. Shape (action_dim,).

    The function raises ContractError for an action of another shape.
    """
    low = spec.action_low.astype(np.float64)
    half_span = 0.5 * (spec.action_high.astype(np.float64) - low)

    def rescale(action: FloatArray) -> FloatArray:
        exact = np.asarray(action, dtype=np.float64)
        if exact.shape != low.shape:
            raise ContractError(
                f"task '{spec.task}': expected an action of shape {low.shape}, found {exact.shape}."
                " Does the policy belong to this task?"
            )
        return ((exact - low) / half_span - 1.0).astype(np.float32)

    return rescale
