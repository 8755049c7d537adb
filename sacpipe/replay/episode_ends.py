"""How far each transition of a ring is from the end of its episode, and where episodes start.

The number is written when the episode ends. Until then it is OPEN, and the distance is the one to the newest
transition: so a step costs the same in an episode of any length. The starts are one number an episode.
"""

import numpy as np
from numpy.typing import NDArray

OPEN = -1
"""Marks a transition whose episode has not ended."""


_FIRST_STARTS = 64
"""Places for starts at first; their number doubles when all are taken by episodes that the ring holds."""


class EpisodeStarts:
    """Numbers of the first transitions of the episodes that a ring holds.

    Args:
        capacity: Slots of the ring.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._numbers = np.zeros(_FIRST_STARTS, dtype=np.int64)
        self._count = 1  # the first transition of all starts an episode

    def add(self, numbers: NDArray[np.int64]) -> None:
        """Add starts in order, at least one, none of them before the last one added."""
        numbers = numbers[numbers > self._numbers[self._count - 1]]
        if self._count + len(numbers) > len(self._numbers):
            self._make_room(numbers)
        self._numbers[self._count : self._count + len(numbers)] = numbers
        self._count += len(numbers)

    def at(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the start of the episode that each transition of the ring belongs to."""
        starts = self._numbers[: self._count]
        return starts[np.searchsorted(starts, numbers, side="right") - 1]

    def _make_room(self, numbers: NDArray[np.int64]) -> None:
        """Forget episodes whose transitions are all overwritten by those before the newest start."""
        starts = self._numbers[: self._count]
        oldest = starts[-1] - self._capacity
        kept = starts[max(0, int(np.searchsorted(starts, oldest, side="right")) - 1) :]
        self._numbers = np.zeros(max(_FIRST_STARTS, 2 * (len(kept) + len(numbers))), dtype=np.int64)
        self._numbers[: len(kept)] = kept
        self._count = len(kept)


class EpisodeEnds:
    """Writes the distances of a ring's slots. A transition's number counts from the first one ever added.

    Args:
        steps_to_end: One number a slot, int32. Shape (capacity,).
        starts: Where the starts are kept.
    """

    def __init__(self, steps_to_end: NDArray[np.int32], starts: EpisodeStarts) -> None:
        self._steps_to_end, self._starts = steps_to_end, starts
        self._begin = 0
        self._episode_id: int | None = None

    def add(self, number: int, episode_id: int, *, ended: bool) -> None:
        """Count a transition."""
        if episode_id != self._episode_id:
            self._close(number)
            self._starts.add(np.array([number]))
            self._episode_id = episode_id
        self._steps_to_end[number % len(self._steps_to_end)] = OPEN
        if ended:
            self._close(number + 1)
            self._starts.add(np.array([number + 1]))

    def extend(self, number: int, episode_ids: NDArray[np.int64], ended: NDArray[np.bool_]) -> None:
        """Count transitions, at least one, that fill the slots from number `number` on without a break."""
        if episode_ids[0] != self._episode_id:
            self._close(number)
            self._starts.add(np.array([number]))
        slot, count = number % len(self._steps_to_end), len(episode_ids)
        is_last = ended.copy()
        is_last[:-1] |= episode_ids[1:] != episode_ids[:-1]
        lasts = np.flatnonzero(is_last)
        distances = np.full(count, OPEN, dtype=np.int32)
        if len(lasts):
            self._close(number, number + int(lasts[0]))
            whole = np.arange(lasts[-1] + 1)
            distances[: len(whole)] = lasts[np.searchsorted(lasts, whole)] - whole
            self._starts.add(number + lasts + 1)
            self._begin = number + int(lasts[-1]) + 1
        self._steps_to_end[slot : slot + count] = distances
        self._episode_id = int(episode_ids[-1])

    def skip_to(self, number: int) -> None:
        """Forget the running episode: all transitions before `number` are overwritten."""
        self._begin, self._episode_id = number, None
        self._starts.add(np.array([number]))

    def _close(self, number: int, last: int | None = None) -> None:
        """End the running episode before `number`; its last transition is `last`, or the one before."""
        capacity = len(self._steps_to_end)
        last = number - 1 if last is None else last
        count = min(number - self._begin, capacity)
        distances = last - np.arange(number - count, number)
        slot = (number - count) % capacity
        first = min(count, capacity - slot)
        self._steps_to_end[slot : slot + first] = distances[:first]
        self._steps_to_end[: count - first] = distances[first:]
        self._begin = number
