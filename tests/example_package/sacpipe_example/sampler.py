"""A sampler that prefers recent transitions: the newer of two that are drawn uniformly."""

from typing import Literal, Self

import numpy as np

from sacpipe.replay.samplers.base import Sampler, SamplerConfig
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch


class RecentConfig(SamplerConfig):
    """Prefer recent transitions."""

    name: Literal["recent"]

    @classmethod
    def example(cls) -> Self:
        """Return the only config."""
        return cls(name="recent")

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer."""

        def sample(view: BufferView, generator: np.random.Generator, n: int) -> Batch:
            rows = generator.integers(0, len(view), size=(2, n))
            newer = np.argmax(view.numbers(rows), axis=0)
            found = view.gather(rows[newer, np.arange(n)])
            return found.batch(np.float32(discount) * (1.0 - found.terminations).astype(np.float32))

        return sample
