"""Batches with a fixed number of rows from each of several buffers: the run's own and an initial pool."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.specs.records import Batch


class Source(NamedTuple):
    """A buffer, and the number of rows it has in every batch."""

    name: str
    """Name of the buffer's pool, for messages."""
    buffer: ReplayBuffer
    transitions: int
    """Rows of each batch that come from this buffer, at least one."""


class Mixture:
    """Draws every batch into the same arrays, from the same sources in the same order.

    The rows of a source are contiguous, so each buffer gathers directly into its part of the batch.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        counts = [source.transitions for source in sources]
        ends = np.cumsum(counts).tolist()
        self._batch = sources[0].buffer.empty_batch(ends[-1])
        self._parts = tuple(
            (source, first, _rows(self._batch, slice(first, end)))
            for source, first, end in zip(sources, [0, *ends], ends, strict=False)
        )

    def sample(self, generator: np.random.Generator) -> Batch:
        """Draw a batch, uniformly and with replacement within each source. The next call overwrites it.

        Raises:
            ValueError: a buffer is empty.
        """
        for source, _, rows in self._parts:
            source.buffer.sample(source.transitions, generator, out=rows)
        return self._batch

    def origin(self, row: int) -> str:
        """Return source and transition number of a row of the last batch, for a message."""
        source, first, _ = next(part for part in reversed(self._parts) if part[1] <= row)
        return f"transition {source.buffer.sampled_steps()[row - first]} of {source.name}"


def _rows(batch: Batch, rows: slice) -> Batch:
    return Batch(**{name: array[rows] for name, array in vars(batch).items()})
