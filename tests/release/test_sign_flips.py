"""The sign-flip test: exact by enumeration, by its group, and the ends of its interval."""

import itertools

import numpy as np
import pytest

from sacpipe.core.seeding import generator
from sacpipe.release import sign_flips


def test_few_values_are_flipped_in_every_way():
    """Of the eight flips of 1, 2 and 4, the sum is at least 3 where none, 1, or 2 is flipped: -1 + 2 + 4 = 5, 1 - 2 + 4 = 3."""
    assert sign_flips.p_values(np.array([[1.0, 2.0, 4.0], [4.0, 2.0, 1.0]]), 0.0).tolist() == [1 / 8, 1 / 8]
    assert sign_flips.p_values(np.array([[-1.0, 2.0, 4.0]]), 0.0)[0] == 2 / 8
    assert sign_flips.p_values(np.array([[-1.0, -2.0, -4.0]]), 0.0)[0] == 1.0


@pytest.mark.parametrize("number", [3, 8, 12])
def test_it_is_the_enumeration_of_all_flips(number):
    random = generator(0, "tests/flips")
    for values in (random.normal(size=number), random.integers(-2, 3, size=number).astype(float)):
        for bound in (0.0, -0.3):
            shifted = values - bound
            sums = [shifted @ np.array(signs) for signs in itertools.product((1, -1), repeat=number)]
            expected = np.mean([total >= shifted.sum() - 1e-9 for total in sums])
            assert sign_flips.p_values(values[None, :], bound)[0] == expected


@pytest.mark.parametrize("number", [5, 14, 60])
def test_the_flips_are_a_group_without_doubles(number):
    flips = sign_flips._flips(number)
    packed = {word.tobytes() for word in flips}
    assert len(packed) == len(flips) == 2 ** min(number, 14)
    assert not flips[0].any()
    random = generator(0, "tests/group")
    for first, second in random.integers(len(flips), size=(200, 2)):
        assert (flips[first] ^ flips[second]).tobytes() in packed
    assert flips.mean(axis=0) == pytest.approx(np.full(number, 0.5))


def test_equal_sums_count_whatever_their_rounding():
    """0.1 + 0.2 - 0.3 is not 0 as a number: half of the flips of these have the same sum."""
    assert sign_flips.p_values(np.array([[0.1, 0.2, -0.3, 0.0]]), 0.0)[0] == pytest.approx(10 / 16)


def test_it_is_exact_for_symmetric_values_of_any_kind():
    """The share of the samples with a p-value of at most a level: over all samples that the flips make of one."""
    values = np.array([1.0, 1.0, 0.0, 0.5, 3.0, 0.25, 7.0, 2.0])
    samples = np.array(list(itertools.product((1, -1), repeat=8))) * values
    found = sign_flips.p_values(samples, 0.0)
    for level in (1 / 128, 0.05, 0.3):
        assert (found <= level).mean() <= level
    assert (found <= 1 / 8).mean() > 0.1


@pytest.mark.parametrize("level", [0.04, 0.0008])
def test_below_the_lower_end_the_p_value_is_at_most_the_level(level):
    for values in generator(1, "tests/flip_ends").normal(size=(20, 30)):
        end = sign_flips.lower_end(values, level)
        below, above = (sign_flips.p_values(values[None, :], end + step)[0] for step in (-1e-6, 1e-6))
        assert below <= level < above


def test_too_few_flips_for_a_level_have_no_end():
    assert sign_flips.lower_end(np.arange(10.0), 1 / 1024) == 0.0
    assert sign_flips.lower_end(np.arange(10.0), 0.99 / 1024) == -np.inf
