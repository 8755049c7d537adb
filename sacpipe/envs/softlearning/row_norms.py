"""Norms of vectors, one a row, with the same bits for one row as for many."""

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]


def squared_norms(rows: Rows) -> Rows:
    """Return the sum of the squares of each row's entries, added in their order. Shape (N,)."""
    total: Rows = np.zeros(len(rows))
    for column in rows.T:
        total += column**2
    return total


def norms(rows: Rows) -> Rows:
    """Return the Euclidean norm of each row. Shape (N,)."""
    return np.sqrt(squared_norms(rows))
