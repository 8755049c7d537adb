"""Batches whose rows come from several buffers by fixed counts: a run's own experience, and earlier one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.specs.records import Batch


class Source(NamedTuple):
    """Where some rows of every batch come from."""

    name: str
    """For messages: whose transitions these are."""
    buffer: ReplayBuffer
    transitions: int
    """Rows of each batch, at least one."""


class Mixture:
    """Draws batches into one kept array, always from the same sources in the same order.

    The rows of a source stand together; each buffer gathers straight into its own.
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
        """Draw a batch, uniformly and with replacement within each source. It is overwritten by the next.

        Raises:
            ValueError: a buffer is empty.
        """
        for source, _, rows in self._parts:
            source.buffer.sample(source.transitions, generator, out=rows)
        return self._batch

    def origin(self, row: int) -> str:
        """Say which transition of which source a row of the last batch is."""
        source, first, _ = next(part for part in reversed(self._parts) if part[1] <= row)
        return f"transition {source.buffer.sampled_steps()[row - first]} of {source.name}"


def _rows(batch: Batch, rows: slice) -> Batch:
    return Batch(**{name: array[rows] for name, array in vars(batch).items()})
