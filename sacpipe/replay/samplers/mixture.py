"""Batches with a fixed number of rows from each of several buffers: the run's own and an initial pool."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sacpipe.replay.samplers.base import Sampler
from sacpipe.replay.view import BufferView, Gathered
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch


class Source(NamedTuple):
    """A buffer, the sampler that draws from it, and the number of rows it has in every batch."""

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
            _place(source.sampler(source.view, generator, source.transitions), self._batch, rows)
        return self._batch

    def origin(self, row: int) -> str:
        """Return source and transition number of a row of the last batch, for a message.

        The transition is found by its observation and action, so it is known whatever the sampler did.
        """
        index = next(index for index, rows in enumerate(self._rows) if row < rows.stop)
        source = self._sources[index]
        number = source.view.find(self._batch.observations.rows(row), self._batch.actions[row])
        return f"a transition of {source.name}" if number is None else f"transition {number} of {source.name}"


def _place(part: Batch, whole: Batch, rows: slice) -> None:
    _copy(part.observations, whole.observations.rows(rows))
    whole.actions[rows] = part.actions
    whole.rewards[rows] = part.rewards
    _copy(part.next_observations, whole.next_observations.rows(rows))
    whole.discounts[rows] = part.discounts


def _copy(source: Observation, target: Observation) -> None:
    target.vector[...] = source.vector
    for name, image in source.images.items():
        target.images[name][...] = image
