"""Batches with a fixed number of rows from each of several buffers: the run's own and an initial pool."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sacpipe.core.errors import CheckpointError
from sacpipe.replay.samplers.base import (
    Arrays,
    GuidedSampler,
    RelabellingSampler,
    Sampler,
    StatefulSampler,
)
from sacpipe.replay.view import BufferView, Gathered
from sacpipe.specs.records import Batch, FloatArray


class Source(NamedTuple):
    """A buffer, the sampler that draws from it, and the number of rows it has in every batch."""

    key: str
    """Beginning of the names of the sampler's arrays in a checkpoint: `own` or `initial_pool`."""
    name: str
    """Name of the buffer's pool, for messages."""
    view: BufferView
    sampler: Sampler
    """Draws from this view only: a sampler may keep what it knows of its buffer."""
    transitions: int
    """Rows of each batch that come from this buffer, at least one."""


class Mixture:
    """Draws every batch from the same sources in the same order; the rows of a source are contiguous.

    A single source gives its sampler's batches themselves; those of several are copied into one batch.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = tuple(sources)
        ends = np.cumsum([source.transitions for source in sources]).tolist()
        self._rows = tuple(slice(first, end) for first, end in zip([0, *ends], ends, strict=False))
        # Nothing is drawn before the first `sample`, and a single source brings its own memory.
        rows = ends[-1] if len(sources) > 1 else 0
        self._batch = Gathered(sources[0].view.spec, rows).batch(np.empty(rows, dtype=np.float32))
        self.is_guided = any(isinstance(source.sampler, GuidedSampler) for source in sources)
        """Whether a sampler wants the TD errors of every batch."""
        first = sources[0].sampler
        self.relabelling = first if isinstance(first, RelabellingSampler) else None
        """The sampler that shows the learner's normaliser more observations; None where none does."""

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draw a batch. The next call overwrites it.

        Raises:
            ValueError: a buffer is empty.
        """
        for source in self._sources:
            if not len(source.view):
                raise ValueError(f"cannot draw a batch from an empty replay buffer: {source.name}")
        if len(self._sources) == 1:
            (source,) = self._sources
            self._batch = source.sampler(source.view, generator, source.transitions)
            return self._batch
        for source, rows in zip(self._sources, self._rows, strict=True):
            self._place(source.sampler(source.view, generator, source.transitions), rows)
        return self._batch

    def receive(self, td_errors: FloatArray) -> None:
        """Pass the absolute TD errors of the last batch on, to each sampler those of its rows."""
        for source, rows in zip(self._sources, self._rows, strict=True):
            if isinstance(source.sampler, GuidedSampler):
                source.sampler.receive(td_errors[rows])

    def state(self) -> Arrays:
        """Return the state of all samplers, as copies; empty where none has any."""
        return {
            f"{source.key}/{name}": array
            for source in self._sources
            if isinstance(source.sampler, StatefulSampler)
            for name, array in source.sampler.state().items()
        }

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`, with buffers that hold the same transitions.

        A finished run may go on with another initial pool, or without one: a source without any state begins
        anew, and the state of a source that is not there any more is left out.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
        for source in self._sources:
            prefix = f"{source.key}/"
            own = {name.removeprefix(prefix): one for name, one in state.items() if name.startswith(prefix)}
            if own and not isinstance(source.sampler, StatefulSampler):
                raise CheckpointError(f"expected no state of the sampler, found {', '.join(sorted(own))}.")
            if own and isinstance(source.sampler, StatefulSampler):
                source.sampler.load_state(own)

    def origin(self, row: int) -> str:
        """Return source and transition number of a row of the last batch, for a message.

        The transition is found by its observation and action, so it is known whatever the sampler did.
        """
        index = next(index for index, rows in enumerate(self._rows) if row < rows.stop)
        source = self._sources[index]
        number = source.view.find(self._batch.observations.rows(row), self._batch.actions[row])
        return f"a transition of {source.name}" if number is None else f"transition {number} of {source.name}"

    def _place(self, part: Batch, rows: slice) -> None:
        """Copy a source's batch into the whole one; rows of a sampler without weights have the weight 1."""
        whole = self._batch
        whole.observations.rows(rows).write(part.observations)
        whole.actions[rows] = part.actions
        whole.rewards[rows] = part.rewards
        whole.next_observations.rows(rows).write(part.next_observations)
        whole.discounts[rows] = part.discounts
        if part.weights is not None and whole.weights is None:
            ones = np.ones(len(whole.rewards), dtype=np.float32)
            self._batch = whole = dataclasses.replace(whole, weights=ones)
        if whole.weights is not None:
            whole.weights[rows] = 1.0 if part.weights is None else part.weights
