"""The default sampler: every transition is drawn equally often, with replacement."""

from typing import Literal, Self

import numpy as np

from sacpipe.replay.samplers.base import Gathering, Sampler, SamplerConfig
from sacpipe.replay.view import BufferView
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


class Uniform(Gathering):
    """Draws by one call of `integers`, always into the same arrays, which are views of gathered records."""

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        """Draw a batch."""
        self._fit(n)
        view.gather(generator.integers(0, len(view), size=n), out=self._gathered)
        self._set_discounts()
        return self._batch
