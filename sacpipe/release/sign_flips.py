"""The sign-flip test of a mean, exact where the values are independent and symmetric about it.

The flips are a subgroup of all sign changes: the words of a linear code, made once from a fixed seed. A test
by a group is exact for that one group, whatever its size, so that no flip need be drawn anew: Hemerik and
Goeman (2018), Exact testing with random permutations, TEST 27, theorem 1; after Hoeffding (1952), The
large-sample power of tests based on permutations of observations, Annals of Mathematical Statistics 23.
A flipped sum is at least the observed one where the values that are flipped add up to 0 or less. So a flip
counts by the mean of its values, and the interval of the mean has such means as its ends: Hartigan (1969),
Using subsample values as typical values, Journal of the American Statistical Association 64.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.seeding import generator

Floats = NDArray[np.float64]

FLIP_BITS = 14
"""There are 2 to this power of flips, 16,384, or of the number of values where that is smaller."""
_COLUMNS = 64
"""Values of which the flips are floating-point numbers at one time: 8 MiB."""
_ROUNDING = 1e-12
"""Sums up to this share of the values' absolute sum are 0: an equal sum counts, however it was rounded."""


def p_values(values: Floats, bound: float) -> Floats:
    """Return p-values of the hypothesis that the centre of symmetry is at most a bound. Shape (tests,).

    Args:
        values: One test a row. Shape (tests, values).
        bound: In the unit of the values.
    """
    shifted = values - bound
    sums = _flipped_sums(shifted)
    counts = np.count_nonzero(sums <= _ROUNDING * np.abs(shifted).sum(axis=1), axis=0)
    shares: Floats = counts / len(sums)
    return shares


def lower_end(values: Floats, level: float) -> float:
    """Return the largest bound below which every bound has a p-value of at most a level.

    Minus infinity where there are too few flips for the level.

    Args:
        values: One sample. Shape (values,).
        level: One minus the confidence.
    """
    flips = _flips(len(values))
    rank = math.floor(level * len(flips)) - 1
    if rank < 0:
        return -math.inf
    means = _flipped_sums(values[None, :])[1:, 0] / flips[1:].sum(axis=1)
    return float(np.partition(means, rank)[rank])


@lru_cache(maxsize=8)
def _flips(number: int) -> NDArray[np.uint8]:
    """Return the flips: 1 where a value changes its sign. Shape (flips, number); the first flips none.

    The first bits of a word are free, so that no two words are equal. A word is the sum modulo 2 of rows of
    the code, so that the sum of two words is one.
    """
    bits = min(FLIP_BITS, number)
    drawn = generator(0, "release/sign_flips").integers(0, 2, size=(number - bits, bits), dtype=np.uint8)
    words = np.zeros((1, number), dtype=np.uint8)
    for row in np.concatenate([np.eye(bits, dtype=np.uint8), drawn.T], axis=1):
        words = np.concatenate([words, words ^ row])
    return words


def _flipped_sums(values: Floats) -> Floats:
    """Return the sum of the values that each flip changes. Shape (flips, tests)."""
    flips = _flips(values.shape[1])
    sums = np.zeros((len(flips), len(values)))
    for first in range(0, values.shape[1], _COLUMNS):
        part = slice(first, first + _COLUMNS)
        sums += flips[:, part].astype(np.float64) @ values[:, part].T
    return sums
