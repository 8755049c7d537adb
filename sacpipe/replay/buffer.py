"""The replay buffer: the newest transitions in memory, sampled uniformly.

One transition is one float32 row, so that a random draw touches one place in memory instead of five.
Truncations and episode ids are not kept: the learner uses neither; the pool on disk has them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sacpipe.replay.pool.transitions import Transitions
from sacpipe.specs.records import Batch, FloatArray, Transition


class ReplayBuffer:
    """A ring of transitions in memory. Not safe for threads: `sample` gathers into one kept array."""

    def __init__(self, observation_dim: int, action_dim: int, capacity: int) -> None:
        self.capacity = capacity
        width = 2 * observation_dim + action_dim + 2
        # np.empty asks for addresses only: a page is taken from the machine when first written.
        self._rows = np.empty((capacity, width), dtype=np.float32)
        self._action_dim, self._observation_dim = action_dim, observation_dim
        self._columns = self._split(self._rows)
        self._gathered = np.empty((0, width), dtype=np.float32)
        self._gathered_columns = self._split(self._gathered)
        self._drawn = np.empty(0, dtype=np.int64)
        self._added = 0

    def __len__(self) -> int:
        return min(self._added, self.capacity)

    def add(self, transition: Transition) -> None:
        """Put one transition in, over the oldest where the ring is full."""
        slot = self._added % self.capacity
        columns = self._columns
        columns.observations[slot] = transition.observation
        columns.actions[slot] = transition.action
        columns.next_observations[slot] = transition.next_observation
        columns.rewards[slot] = transition.reward
        columns.terminations[slot] = transition.terminated
        self._added += 1

    def extend(self, transitions: Transitions) -> None:
        """Put many in; the ring is then as if each had been added in turn.

        Raises:
            ValueError: an array has another width than this buffer.
        """
        self._check_widths(transitions)
        skipped = max(0, len(transitions) - self.capacity)
        self._added += skipped
        while skipped < len(transitions):
            slot = self._added % self.capacity
            count = min(len(transitions) - skipped, self.capacity - slot)
            source = transitions[skipped : skipped + count]
            _copy(source, self._split(self._rows[slot : slot + count]))
            self._added += count
            skipped += count

    def load(self, parts: Sequence[tuple[int, Callable[[], Transitions]]]) -> None:
        """Extend by parts, each its length and a reader; a part wholly overwritten by later ones is not read.

        Where a reader fails the buffer holds nothing useful any more.
        """
        following = sum(count for count, _ in parts)
        for count, read in parts:
            following -= count
            if following >= self.capacity:
                self._added += count
            else:
                self.extend(read())

    def sample(self, batch_size: int, generator: np.random.Generator, out: Batch | None = None) -> Batch:
        """Draw transitions uniformly, with replacement.

        Args:
            batch_size: Transitions drawn.
            generator: Owned by the caller; one call of `integers` is made.
            out: A batch an earlier call returned. Its arrays are written again and returned, which
                spares fresh memory; what they held is lost.

        Raises:
            ValueError: the buffer is empty, or `out` has another shape.
        """
        if self._added == 0:
            raise ValueError("cannot sample from an empty replay buffer")
        if out is not None and len(out.rewards) != batch_size:
            raise ValueError(f"expected out to hold {batch_size} transitions, found {len(out.rewards)}")
        if len(self._gathered) != batch_size:
            self._gathered = np.empty((batch_size, self._rows.shape[1]), dtype=np.float32)
            self._gathered_columns = self._split(self._gathered)
        self._drawn = indices = generator.integers(0, len(self), size=batch_size)
        # With mode="raise" NumPy would gather into a hidden copy first; no index is out of range.
        self._rows.take(indices, axis=0, out=self._gathered, mode="clip")
        batch = out or self.empty_batch(batch_size)
        _copy(self._gathered_columns, batch)
        return batch

    def sampled_steps(self) -> NDArray[np.int64]:
        """Return which transitions the last `sample` drew, counted from the first ever added. Shape (B,)."""
        oldest = self._added - len(self)
        return oldest + (self._drawn - oldest) % self.capacity

    def empty_batch(self, batch_size: int) -> Batch:
        """Return arrays of a batch's shapes, to be written into by `sample`."""

        def empty(*shape: int) -> FloatArray:
            return np.empty((batch_size, *shape), dtype=np.float32)

        return Batch(
            observations=empty(self._observation_dim),
            actions=empty(self._action_dim),
            rewards=empty(),
            next_observations=empty(self._observation_dim),
            terminations=empty(),
        )

    def _split(self, rows: FloatArray) -> Batch:
        """View rows [observation, action, next observation, reward, termination] as columns."""
        first = self._observation_dim
        second = first + self._action_dim
        return Batch(
            observations=rows[:, :first],
            actions=rows[:, first:second],
            rewards=rows[:, -2],
            next_observations=rows[:, second:-2],
            terminations=rows[:, -1],
        )

    def _check_widths(self, transitions: Transitions) -> None:
        expected = (self._observation_dim, self._action_dim)
        found = (transitions.observations.shape[1], transitions.actions.shape[1])
        if found != expected:
            raise ValueError(f"expected (observation_dim, action_dim) {expected}, found {found}")


def _copy(source: Batch | Transitions, target: Batch) -> None:
    target.observations[...] = source.observations
    target.actions[...] = source.actions
    target.rewards[...] = source.rewards
    target.next_observations[...] = source.next_observations
    target.terminations[...] = source.terminations
