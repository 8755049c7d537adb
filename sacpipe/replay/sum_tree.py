"""A binary tree of sums: draws places in proportion to their values, a batch at once."""

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Values = NDArray[np.float64]


def tree_bytes(capacity: int) -> int:
    """Return the memory of a tree with so many places, in bytes: 16 to 32 for each."""
    return 16 << _depth(capacity)


def _depth(capacity: int) -> int:
    return max(0, capacity - 1).bit_length()


class SumTree:
    """Values of places, all 0 at first, and sums of them.

    Every sum is that of its two parts, left plus right. So the sums depend on the values alone, whatever was
    written in which order, and a tree that is built anew from its values is the same.

    Args:
        capacity: Number of places.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._depth = _depth(capacity)
        self._first = 1 << self._depth
        # Node 1 is the sum of all; nodes 2 k and 2 k + 1 are the parts of node k; then come the places.
        self._sums = np.zeros(2 * self._first)

    @property
    def values(self) -> Values:
        """The places' values, as a view that is not to be written. Shape (capacity,)."""
        return self._sums[self._first : self._first + self.capacity]

    @property
    def total(self) -> float:
        """Sum of all values."""
        return float(self._sums[1])

    def put(self, places: Places, values: Values) -> None:
        """Set values, at least 0. Of a place that is there twice, the last one counts."""
        nodes = places + self._first
        self._sums[nodes] = values
        for _ in range(self._depth):
            nodes >>= 1
            self._sums[nodes] = self._sums[2 * nodes] + self._sums[2 * nodes + 1]

    def find(self, targets: Values) -> Places:
        """Return for each target the place where the running sum of the values first exceeds it.

        No place whose value is 0 is returned, whatever rounding does.

        Args:
            targets: From 0 to `total`, which is above 0. Shape (n,).
        """
        nodes, rest = np.ones(len(targets), dtype=np.int64), targets.copy()
        for _ in range(self._depth):
            nodes <<= 1
            left = self._sums[nodes]
            is_right = (rest >= left) & (self._sums[nodes + 1] > 0.0)
            rest -= np.where(is_right, left, 0.0)
            nodes += is_right
        return nodes - self._first
