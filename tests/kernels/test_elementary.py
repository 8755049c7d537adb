"""The kernels' own elementary functions against NumPy's in float64.

Largest errors in units in the last place, of every third or fifth float32 number: exp 1.253, log 0.827, log1p
1.245, tanh 1.501. A correctly rounded result has 0.5. The tests take fewer numbers, with these bounds.
"""

import numpy as np
import pytest

from sacpipe.kernels.elementary import exponential, hyperbolic_tangent, log_one_plus, logarithm


def bit_patterns(first, last, step):
    """Every so many of the float32 numbers between two."""
    bits = np.array([first, last], dtype=np.float32).view(np.uint32)
    return np.arange(bits[0], bits[1], step, dtype=np.uint32).view(np.float32)


def largest_error(function, reference, inputs):
    """In units in the last place of the float32 result."""
    expected = reference(inputs.astype(np.float64))
    unit = np.spacing(np.abs(expected).astype(np.float32)).astype(np.float64)
    return float((np.abs(function(inputs) - expected) / unit).max())


TINY, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max
NORMAL = bit_patterns(TINY, LARGEST, 1013)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("function", "reference", "inputs", "ulp"),
    [
        (exponential, np.exp, np.linspace(-86.0, 88.0, 2_000_001, dtype=np.float32), 1.26),
        (logarithm, np.log, NORMAL, 0.83),
        (logarithm, np.log, bit_patterns(0.5, 2.0, 11), 0.83),
        (log_one_plus, np.log1p, bit_patterns(TINY, 1.0, 1013), 1.25),
        (log_one_plus, np.log1p, np.linspace(0.0, 1.0, 1_000_001, dtype=np.float32), 1.25),
        (hyperbolic_tangent, np.tanh, np.concatenate([NORMAL, -NORMAL]), 1.51),
        (hyperbolic_tangent, np.tanh, np.linspace(-10.0, 10.0, 1_000_001, dtype=np.float32), 1.51),
    ],
)
def test_the_largest_error_over_the_range(function, reference, inputs, ulp):
    assert largest_error(function, reference, inputs) <= ulp


def test_exact_values_and_bounds():
    np.testing.assert_array_equal(exponential(np.float32([0.0, -0.0])), np.float32([1.0, 1.0]))
    np.testing.assert_array_equal(
        exponential(np.float32([-np.inf, -90.0, 89.0, np.inf])),
        exponential(np.float32([-86.0, -86.0, 88.0, 88.0])),
    )
    np.testing.assert_array_equal(logarithm(np.float32([1.0])), np.float32([0.0]))
    np.testing.assert_array_equal(log_one_plus(np.float32([0.0])), np.float32([0.0]))
    found = hyperbolic_tangent(np.float32([0.0, -0.0, np.inf, -np.inf, 20.0]))
    np.testing.assert_array_equal(found, np.float32([0.0, 0.0, 1.0, -1.0, 1.0]))


@pytest.mark.parametrize("function", [exponential, log_one_plus, hyperbolic_tangent])
def test_not_a_number_stays_one(function):
    assert np.isnan(function(np.float32([np.nan]))).all()


def test_tanh_is_odd_and_within_one():
    found = hyperbolic_tangent(NORMAL)
    np.testing.assert_array_equal(hyperbolic_tangent(-NORMAL), -found)
    assert found.max() == 1.0


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 33])
def test_a_numbers_neighbours_change_nothing(size):
    inputs = np.linspace(0.01, 0.99, size, dtype=np.float32)
    for function in (exponential, logarithm, log_one_plus, hyperbolic_tangent):
        alone = [function(inputs[i : i + 1])[0] for i in range(size)]
        np.testing.assert_array_equal(function(inputs), np.array(alone, dtype=np.float32))
