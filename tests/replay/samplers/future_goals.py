"""Hindsight goals of the kind `future`, as a package of an engineer of another package would write it."""

from typing import Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.core.errors import ConfigError
from sacpipe.replay.samplers.base import Sampler, SamplerConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch


class FutureGoalsConfig(SamplerConfig):
    """Replace desired goals by goals that the same episode reached later."""

    name: Literal["future_goals:FutureGoalsConfig"]
    """Import path."""
    share: float = Field(ge=0, le=1)
    """Share of the rows whose goal is replaced."""
    tolerance: float = Field(gt=0)
    """Distance at which a goal is reached."""

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer."""
        goals = {
            group: [term.name for term in spec.observation if group in term.groups]
            for group in ("achieved_goal", "desired_goal")
        }
        if not all(goals.values()):
            raise ConfigError(f"replay.sampler: expected terms of both goals, found {goals}.")
        (achieved,), (desired,) = goals.values()

        def sample(view: BufferView, generator: np.random.Generator, n: int) -> Batch:
            rows = generator.integers(0, len(view), size=n)
            chosen = np.flatnonzero(generator.random(n) < self.share)
            offsets = generator.integers(0, view.steps_to_end(rows[chosen]) + 1)
            found = view.gather(rows)
            rewards, terminations = found.rewards.copy(), found.terminations.copy()
            reached = view.next_observations(view.later(rows[chosen], offsets))[achieved]
            for observations in (found.observations, found.next_observations):
                observations[desired][chosen] = reached
            distance = np.linalg.norm(found.next_observations[achieved][chosen] - reached, axis=1)
            rewards[chosen] = -(distance > self.tolerance).astype(np.float32)
            terminations[chosen] = distance <= self.tolerance
            discounts = np.where(terminations, 0.0, discount).astype(np.float32)
            return Batch(found.observations, found.actions, rewards, found.next_observations, discounts)

        return sample

    @classmethod
    def example(cls) -> Self:
        """Return four in five."""
        return cls(name="future_goals:FutureGoalsConfig", share=0.8, tolerance=0.05)
