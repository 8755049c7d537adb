"""What a sampler is: a function of a view of the buffer, a generator and a number of rows, to a batch.

A sampler of your own is one file: a subclass of `SamplerConfig`, found by an entry point of the group
`sacpipe.samplers` or by its import path in params.yaml. `sacpipe.testing.samplers.check_sampler` tests it.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Self, TypeAlias

import numpy as np

from sacpipe.core.config import Config
from sacpipe.replay.view import BufferView
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch

Sampler: TypeAlias = Callable[[BufferView, np.random.Generator, int], Batch]
"""Draws a batch of n rows from a view with at least one transition; n is at least 1.

All randomness comes from the generator: the same state of it gives the same batch. The batch may be
overwritten by the sampler's next call. Its discounts are the discount per step to the power of the number of
steps, and 0 where the task itself ended.
"""


class SamplerConfig(Config):
    """The `replay.sampler` section of params.yaml. A sampler adds its own keys."""

    name: str
    """Registered name of the sampler, or `module:attribute` of its config class."""

    @abstractmethod
    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer.

        Args:
            spec: Task of the transitions.
            discount: Discount per step, in (0, 1].

        Raises:
            ConfigError: the task lacks what the sampler needs, such as terms of a goal.
        """

    @classmethod
    @abstractmethod
    def example(cls) -> Self:
        """Return a valid config, for contract tests."""
