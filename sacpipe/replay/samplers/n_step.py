"""Returns of n steps: rewards of a window, and the value after it (Sutton 1988, Machine Learning 3:9-44).

Without a correction for the policy that acted, as in Rainbow (Hessel et al. 2017, arXiv:1710.02298, section
"multi-step learning"). In Soft Actor-Critic the steps inside the window have no entropy bonus.
"""

from typing import Any, Literal, Self

import numpy as np
from pydantic import Field

from sacpipe.replay.samplers.base import Gathering, Sampler, SamplerConfig
from sacpipe.replay.view import BufferView, Rows
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, FloatArray


class NStepConfig(SamplerConfig):
    """Uniform draws of windows of up to n steps."""

    name: Literal["n_step"]
    """Name of the sampler."""
    num_steps: int = Field(ge=1, le=1000)
    """Steps whose rewards are added up; fewer before the end of an episode and the newest transition."""

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return Rainbow's three steps."""
        return {"num_steps": 3}

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer."""
        return NStep(spec, discount, self.num_steps)

    @classmethod
    def example(cls) -> Self:
        """Return three steps."""
        return cls(name="n_step", num_steps=3)


class NStep(Gathering):
    """Draws the first transitions of windows as `uniform` draws transitions; one step gives its batches.

    Args:
        spec: Task of the transitions.
        discount: Discount per step.
        num_steps: Length of a window.
    """

    def __init__(self, spec: EnvSpec, discount: float, num_steps: int) -> None:
        super().__init__(spec, discount)
        self._num_steps = num_steps
        factors = [1.0]
        for _ in range(num_steps):
            factors.append(factors[-1] * discount)
        self._factors = np.array(factors)

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        """Draw a batch."""
        self._fit(n)
        rows = generator.integers(0, len(view), size=n)
        found = view.gather(rows, out=self._gathered)
        # Both ends of an episode end the window: a truncation is bootstrapped, a termination is not.
        more = np.minimum(self._num_steps - 1, view.steps_to_end(rows))
        last = view.later(rows, more)
        if self._num_steps > 1:
            found.rewards[:] = self._returns(view, rows, more, found.rewards)
            found.next_observations.write(view.next_observations(last))
        discounts = self._batch.discounts
        discounts[:] = self._factors[more + 1]
        discounts[view.terminations(last)] = 0.0
        return self._batch

    def _returns(self, view: BufferView, rows: Rows, more: Rows, first: FloatArray) -> FloatArray:
        """Add up discounted rewards in float64, step after step. Shape (n,)."""
        returns = first.astype(np.float64)
        for step in range(1, self._num_steps):
            inside = np.flatnonzero(step <= more)
            returns[inside] += self._factors[step] * view.rewards(view.later(rows[inside], step))
        return returns.astype(np.float32)
