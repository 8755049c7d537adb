"""The default sampler: every transition is drawn equally often, with replacement."""

from typing import Literal, Self

import numpy as np

from sacpipe.replay.samplers.base import Sampler, SamplerConfig
from sacpipe.replay.view import BufferView, Gathered
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch


class UniformConfig(SamplerConfig):
    """Uniform draws with replacement."""

    name: Literal["uniform"]
    """Name of the sampler."""

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer."""
        return Uniform(spec, discount)

    @classmethod
    def example(cls) -> Self:
        """Return the only config."""
        return cls(name="uniform")


class Uniform:
    """Draws by one call of `integers`, always into the same arrays, which are views of gathered records."""

    def __init__(self, spec: EnvSpec, discount: float) -> None:
        self._spec, self._discount = spec, np.float32(discount)
        self._make(0)

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        """Draw a batch."""
        if n != len(self._gathered):
            self._make(n)
        view.gather(generator.integers(0, len(view), size=n), out=self._gathered)
        discounts = self._batch.discounts
        discounts.fill(self._discount)
        discounts[self._gathered.terminations] = 0.0
        return self._batch

    def _make(self, n: int) -> None:
        self._gathered = Gathered(self._spec, n)
        self._batch = self._gathered.batch(np.empty(n, dtype=np.float32))
