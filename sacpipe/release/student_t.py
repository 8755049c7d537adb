"""Student's test of a mean, corrected where the values are skewed to the left.

Rare low values are missing in many samples. The mean of such a sample is high and its spread is small, so
that Student's t accepts too often. Skewness to the right makes it too strict, and is not corrected.
"""

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SKEWNESS_FACTOR = 1.5
"""Factor of the estimated skewness: a sample shows less of it than its distribution has. By simulation,
docs/decisions/0023."""
_SYMMETRIC = -1e-6
"""From this skewness up, nothing is corrected."""


def p_values(values: Floats, bound: float) -> Floats:
    """Return p-values of the hypothesis that the mean is at most a bound. Shape (tests,).

    The larger one counts of Student's t and of Hall's cubic transformation of it: Hall (1992), On the removal
    of skewness by transformation, Journal of the Royal Statistical Society B 54. It is monotone. The
    quadratic one of Johnson (1978), Modified t tests and confidence intervals for asymmetrical populations,
    Journal of the American Statistical Association 73, is not.

    Args:
        values: One test a row, more than two values each. Shape (tests, values).
        bound: In the unit of the values.
    """
    root = math.sqrt(values.shape[1])
    means, errors, skewness = _moments(values)
    excess = means - bound
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.where(errors > 0, excess / errors, np.where(excess > 0, np.inf, -np.inf))
        hall = t + skewness * (2 * t**2 + 1) / (6 * root) + skewness**2 * t**3 / (27 * root**2)
    return upper_tail(np.where(skewness < _SYMMETRIC, np.fmin(t, hall), t), values.shape[1] - 1)


def lower_end(values: Floats, level: float) -> float:
    """Return the largest bound below which every bound has a p-value of at most a level.

    Args:
        values: One sample of more than two values. Shape (values,).
        level: One minus the confidence, below one half.
    """
    root = math.sqrt(len(values))
    mean, error, skewness = (float(moment[0]) for moment in _moments(values[None, :]))
    t = quantile(level, len(values) - 1)
    if skewness < _SYMMETRIC:  # the t at which Hall's transformation is the quantile
        cube = 1 + skewness / root * (t - skewness / (6 * root))
        t = max(t, 3 * root / skewness * (math.cbrt(cube) - 1))
    return mean - t * error


def upper_tail(t: Floats, degrees: int) -> Floats:
    """Return the probability that Student's t is at least a value. Shape of `t`.

    The finite series of Abramowitz and Stegun (1964), Handbook of mathematical functions, 26.7.3 and 26.7.4.

    Args:
        t: Values; infinite ones too.
        degrees: Degrees of freedom.
    """
    angle = np.arctan(t / math.sqrt(degrees))
    squared = np.cos(angle) ** 2
    is_odd = degrees % 2
    term = np.cos(angle) if is_odd else np.ones_like(angle)
    total = np.zeros_like(angle)
    for factor in range(2 + is_odd, degrees + 1, 2):
        total += term
        term = term * squared * (factor - 1) / factor
    central = 2 / math.pi * (angle + np.sin(angle) * total) if is_odd else np.sin(angle) * total
    return np.clip((1 - central) / 2, 0.0, 1.0)


def quantile(level: float, degrees: int) -> float:
    """Return the t that is exceeded with a probability below one half, by bisection.

    Args:
        level: The probability.
        degrees: Degrees of freedom.
    """
    low, high = 0.0, 1.0
    while float(upper_tail(np.array(high), degrees)) > level:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(upper_tail(np.array(middle), degrees)) > level else (low, middle)
    return high


def _moments(values: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the mean, its standard error, and the skewness with its factor. Shapes (tests,).

    The skewness is the adjusted one of Fisher and Pearson. Values that are equal have no rounding error.
    """
    number = values.shape[1]
    offsets = values - values[:, :1]
    centred = offsets - offsets.mean(axis=1, keepdims=True)
    scale = np.abs(centred).max(axis=1, keepdims=True)
    centred = centred / np.where(scale > 0, scale, 1.0)
    variance = (centred**2).mean(axis=1)
    with np.errstate(invalid="ignore"):
        biased = np.where(variance > 0, (centred**3).mean(axis=1) / variance**1.5, 0.0)
    adjusted = biased * math.sqrt(number * (number - 1)) / (number - 2)
    errors = scale[:, 0] * np.sqrt(variance / (number - 1))
    return values[:, 0] + offsets.mean(axis=1), errors, SKEWNESS_FACTOR * adjusted
