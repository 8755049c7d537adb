"""Rows of next observations that the following row repeats: they need not be stored."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.replay.pool.transitions import Transitions

Rows = NDArray[np.int64]


def kept_rows(transitions: Transitions) -> Rows:
    """Return the rows whose next vector must be stored: the following row does not repeat its bits.

    The rows that end an episode, and the last row, are always among them.
    """
    after, before = transitions.next_observations.vector, transitions.observations.vector
    return _kept(transitions, differ(_bits(after[:-1]), _bits(before[1:])))


def kept_image_rows(transitions: Transitions) -> Rows:
    """Return the rows whose next images must be stored: the following row does not repeat all of them.

    The rows that end an episode, and the last row, are always among them.
    """
    keep = np.zeros(len(transitions) - 1, dtype=np.bool_)
    for name, image in transitions.observations.images.items():
        keep |= differ(transitions.next_observations.images[name][:-1], image[1:])
    return _kept(transitions, keep)


def differ(left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
    """Return for each row whether any value of it differs. Shape (N,)."""
    if left.dtype == np.uint8:  # a mask of all pixels would take as much memory as the images
        pairs = zip(left, right, strict=True)
        return np.fromiter((not np.array_equal(*pair) for pair in pairs), dtype=np.bool_, count=len(left))
    different: NDArray[np.bool_] = (left != right).any(axis=1)
    return different


def _kept(transitions: Transitions, is_new: NDArray[np.bool_]) -> Rows:
    keep = (transitions.terminations > 0) | (transitions.truncations > 0)
    keep[-1] = True
    keep[:-1] |= is_new
    return np.flatnonzero(keep).astype(np.int64)


def _bits(vectors: NDArray[np.float32]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(vectors).view(np.uint32)
