"""A sampler of n-step returns, as another package would have it: one file, the methods of the view alone."""

from typing import Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.replay.samplers.base import Sampler, SamplerConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch


class NStepConfig(SamplerConfig):
    """Sum the rewards of up to n steps."""

    name: Literal["n_step:NStepConfig"]
    """Import path."""
    steps: int = Field(ge=1)
    """Largest number of steps."""

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer."""

        def sample(view: BufferView, generator: np.random.Generator, n: int) -> Batch:
            rows = generator.integers(0, len(view), size=n)
            # The episode ends at a termination or a truncation: the window never crosses either.
            more = np.minimum(self.steps - 1, view.steps_to_end(rows))
            last = view.later(rows, more)
            first = view.gather(rows)
            rewards = np.zeros(n)
            for step in range(self.steps):
                inside = step <= more
                rewards[inside] += discount**step * view.rewards(view.later(rows[inside], step))
            discounts = np.where(view.terminations(last), 0.0, discount ** (1.0 + more))
            return Batch(
                first.observations,
                first.actions,
                rewards.astype(np.float32),
                view.next_observations(last),
                discounts.astype(np.float32),
            )

        return sample

    @classmethod
    def example(cls) -> Self:
        """Return three steps."""
        return cls(name="n_step:NStepConfig", steps=3)
