"""Simulated differences of returns, and the paired test of many of them at once."""

import numpy as np

from sacpipe.core.seeding import generator
from sacpipe.release import sign_flips, student_t
from sacpipe.release.paired_test import PairedPlan, look_shares

LOOKS = (60, 120, 240)
LEFT, RIGHT = -1.0, 1.0


def normal(random, shape):
    return random.normal(size=shape)


def heavy_tails(random, shape):
    return random.standard_t(3, size=shape)


def exponential(side):
    return lambda random, shape: side * (random.exponential(size=shape) - 1)


def lognormal(side):
    return lambda random, shape: side * (np.exp(random.normal(size=shape)) - np.exp(0.5))


def discrete(worse, equal, better):
    """Return differences of successes: -1, 0 or 1, less their mean."""

    def draw(random, shape):
        values = random.choice([-1.0, 0.0, 1.0], size=shape, p=[worse, equal, better])
        return values - (better - worse)

    return draw


def falls(probability, depth):
    """Return normal differences with rare falls of the candidate, in standard deviations, less their mean."""

    def draw(random, shape):
        fallen = random.random(shape) < probability
        return random.normal(size=shape) - depth * (fallen - probability)

    return draw


def equal(random, shape):
    return np.zeros(shape)


def simulated(draw, tests, looks=LOOKS, seed=0):
    """Return differences of mean 0. Shape (tests, pairs of the last look)."""
    return draw(generator(seed, "tests/paired"), (tests, looks[-1]))


def accepted(differences, plan: PairedPlan):
    """Return which of many tests accept, one a row, as `paired_test` does for one."""
    accept = np.zeros(len(differences), dtype=bool)
    going = np.ones(len(differences), dtype=bool)
    for pairs, share in zip(plan.looks, look_shares(plan.looks), strict=True):
        part, is_last = differences[:, :pairs], pairs == plan.looks[-1]
        has_spread = part.min(axis=1) < part.max(axis=1)
        above = below(-part, -plan.bound, plan.alpha * share, going & (has_spread | is_last))
        stop = below(part, plan.bound, plan.alpha * share, going & has_spread)
        if is_last and plan.must_be == "not_worse":
            above |= going & (part.min(axis=1) >= 0)
        if 2 * pairs >= plan.looks[-1]:
            stop |= part.mean(axis=1) < plan.bound
        accept |= above
        going &= ~above & ~stop
    return accept


def below(differences, bound, level, rows):
    """Return which of some rows are below a bound by both tests."""
    found = rows.copy()
    for test in (student_t, sign_flips):
        numbers = np.flatnonzero(found)
        found[numbers] = test.p_values(-differences[numbers], -bound) <= level
    return found


def binomial_limit(tests, probability):
    """Return the share that a binomial share exceeds with a probability of 0.1 %, by its normal approximation."""
    return probability + 3.0902 * np.sqrt(probability * (1 - probability) / tests)
