"""What a sampler is: a function of a view of the buffer, a generator and a number of rows, to a batch.

A sampler of your own is one file: a subclass of `SamplerConfig`, found by an entry point of the group
`sacpipe.samplers` or by its import path in params.yaml. `sacpipe.testing.samplers.check_sampler` tests it.

Most samplers are a function. One that needs more is an object with some of the methods of `GuidedSampler`,
`StatefulSampler` and `RelabellingSampler`, or asks its `SamplerContext` for the task's rewards.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple, Protocol, Self, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.replay.view import BufferView, Gathered
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray, RecordedRewards


class Sampler(Protocol):
    """A function, or an object that is called as one."""

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int, /) -> Batch:
        """Draw a batch of n rows, at least 1, from a view with at least one transition.

        All randomness comes from the generator: the same state of it gives the same batch. The batch may be
        overwritten by the sampler's next call. Its discounts are the discount per step to the power of the
        number of steps, and 0 where the task itself ended.
        """
        ...


Arrays: TypeAlias = dict[str, NDArray[np.generic]]


@runtime_checkable
class GuidedSampler(Protocol):
    """A sampler that the learner's errors guide. The learner must offer `td_errors`."""

    def receive(self, td_errors: FloatArray) -> None:
        """Take the absolute TD errors of the last batch's rows, in task units of reward. Shape (n,)."""
        ...


@runtime_checkable
class StatefulSampler(Protocol):
    """A sampler whose next batch depends on more than view and generator. Checkpoints keep its state."""

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies. Rows of the view keep their numbers."""
        ...

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`, with a view that has the same transitions.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
        ...


@runtime_checkable
class RelabellingSampler(Protocol):
    """A sampler whose batches have observations that the task never gave."""

    def relabelled(self, observation: Observation) -> Observation:
        """Return one training observation as batches may have it, in memory of its own.

        The learner observes it beside the recorded one, so that statistics of a normaliser fit the batches.
        """
        ...


class SamplerContext(NamedTuple):
    """What a sampler may be built from."""

    spec: EnvSpec
    """Task of the transitions."""
    discount: float
    """Discount per step, in (0, 1]."""
    find_rewards: Callable[[], RecordedRewards | None]
    """Returns the task's rewards as a function of recorded steps; None where the task has none."""

    def require_rewards(self) -> RecordedRewards:
        """Return the task's rewards as a function of recorded steps.

        Raises:
            ConfigError: the task has none.
        """
        found = self.find_rewards()
        if found is None:
            raise ConfigError(
                f"expected a task that computes rewards of recorded steps, found {self.spec.task}, whose "
                "`compute_rewards` returns None. Use another task, or `sampler: {name: uniform}`"
            )
        return found


class SamplerConfig(Config):
    """The `replay.sampler` section of params.yaml. A sampler adds its own keys.

    It overrides `build`, or `build_from` if it needs the task's rewards.
    """

    name: str
    """Registered name of the sampler, or `module:attribute` of its config class."""

    batch_copies: ClassVar[int] = 0
    """Copies of a batch's rows that the sampler makes beside the batch, for the check of memory."""

    def build(self, spec: EnvSpec, discount: float) -> Sampler:
        """Return a sampler for one buffer.

        Args:
            spec: Task of the transitions.
            discount: Discount per step, in (0, 1].

        Raises:
            ConfigError: the task lacks what the sampler needs, such as terms of a goal.
        """
        raise NotImplementedError

    def build_from(self, context: SamplerContext) -> Sampler:
        """Return a sampler for one buffer; everything that trains calls this.

        Raises:
            ConfigError: the task lacks what the sampler needs.
        """
        return self.build(context.spec, context.discount)

    def buffer_bytes(self, _capacity: int) -> int:
        """Return the memory that a sampler takes beside a buffer of a capacity, for the check of memory."""
        return 0

    @classmethod
    def example(cls) -> Self:
        """Return a valid config, for contract tests."""
        raise NotImplementedError


class Gathering:
    """Keeps one batch, whose arrays are views of gathered records, and makes another for another size.

    Args:
        spec: Task of the transitions.
        discount: Discount per step.
    """

    def __init__(self, spec: EnvSpec, discount: float) -> None:
        self._spec, self._discount = spec, np.float32(discount)
        self._make(0)

    def _make(self, n: int) -> None:
        self._gathered = Gathered(self._spec, n)
        self._batch = self._gathered.batch(np.empty(n, dtype=np.float32))

    def _fit(self, n: int) -> None:
        """Have memory for n rows."""
        if n != len(self._gathered):
            self._make(n)

    def _set_discounts(self) -> None:
        """Give every row the discount of one step, and 0 where the task itself ended."""
        self._batch.discounts.fill(self._discount)
        self._batch.discounts[self._gathered.terminations] = 0.0
