"""The replay buffer: the newest transitions in memory, sampled uniformly.

A transition is one float32 row, so a random draw reads one place in memory instead of five. Truncations
and episode ids are not stored: the learner does not use them, and the pool on disk has them.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sacpipe.replay.pool.transitions import Transitions
from sacpipe.specs.records import Batch, FloatArray, Transition


class ReplayBuffer:
    """A ring of transitions in memory. Not thread-safe: every `sample` gathers into the same array."""

    def __init__(self, observation_dim: int, action_dim: int, capacity: int) -> None:
        self.capacity = capacity
        width = _row_width(observation_dim, action_dim)
        # np.empty reserves addresses only: the system allocates a page when it is first written.
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
        """Add one transition; a full ring overwrites its oldest."""
        slot = self._added % self.capacity
        columns = self._columns
        columns.observations[slot] = transition.observation
        columns.actions[slot] = transition.action
        columns.next_observations[slot] = transition.next_observation
        columns.rewards[slot] = transition.reward
        columns.terminations[slot] = transition.terminated
        self._added += 1

    def extend(self, transitions: Transitions) -> None:
        """Add many transitions; the result is the same as one `add` for each.

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
        """Extend by parts in order; a part that later parts would overwrite completely is not read.

        If a reader fails, the buffer must not be used any more.

        Args:
            parts: Length and reader of each part.
        """
        remaining = sum(count for count, _ in parts)
        for count, read in parts:
            remaining -= count
            if remaining >= self.capacity:
                self._added += count
            else:
                self.extend(read())

    def sample(self, batch_size: int, generator: np.random.Generator, out: Batch | None = None) -> Batch:
        """Draw transitions uniformly, with replacement.

        Args:
            batch_size: Number of transitions to draw.
            generator: Random generator of the caller; one call of `integers` is made.
            out: Batch that an earlier call returned. Its arrays are overwritten and returned, which saves
                an allocation.

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
        # With mode="raise" NumPy would gather into a temporary copy; here no index is out of range.
        self._rows.take(indices, axis=0, out=self._gathered, mode="clip")
        batch = out or self.empty_batch(batch_size)
        _copy(self._gathered_columns, batch)
        return batch

    def sampled_steps(self) -> NDArray[np.int64]:
        """Return the transitions of the last `sample`, counted from the first one ever added. Shape (B,)."""
        oldest = self._added - len(self)
        return oldest + (self._drawn - oldest) % self.capacity

    def empty_batch(self, batch_size: int) -> Batch:
        """Return uninitialised arrays with a batch's shapes, as the `out` of `sample`."""

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


def row_bytes(observation_dim: int, action_dim: int) -> int:
    """Return the memory of one transition in a buffer, in bytes."""
    return _row_width(observation_dim, action_dim) * np.dtype(np.float32).itemsize


def _row_width(observation_dim: int, action_dim: int) -> int:
    return 2 * observation_dim + action_dim + 2


def _copy(source: Batch | Transitions, target: Batch) -> None:
    target.observations[...] = source.observations
    target.actions[...] = source.actions
    target.rewards[...] = source.rewards
    target.next_observations[...] = source.next_observations
    target.terminations[...] = source.terminations
