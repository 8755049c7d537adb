"""Student's t with its correction: printed tables, hand-computed statistics, and the ends of intervals."""

import math

import numpy as np
import pytest

from sacpipe.core.seeding import generator
from sacpipe.release import student_t


@pytest.mark.parametrize(
    ("degrees", "level", "printed"),
    [
        (1, 0.05, 6.314),
        (2, 0.025, 4.303),
        (4, 0.01, 3.747),
        (9, 0.005, 3.250),
        (10, 0.05, 1.812),
        (20, 0.025, 2.086),
        (29, 0.001, 3.396),
        (60, 0.05, 1.671),
        (120, 0.005, 2.617),
    ],
)
def test_quantiles_are_those_of_printed_tables(degrees, level, printed):
    assert student_t.quantile(level, degrees) == pytest.approx(printed, abs=5e-4)
    assert student_t.upper_tail(np.array(printed), degrees) == pytest.approx(level, rel=2e-3)


def test_the_tail_has_the_closed_forms_of_one_and_two_degrees():
    t = np.array([-np.inf, -3.0, -0.5, 0.0, 0.7, 40.0, np.inf])
    assert student_t.upper_tail(t, 1) == pytest.approx(0.5 - np.arctan(t) / math.pi, abs=1e-15)
    finite = t[1:-1]
    expected = (1 - finite / np.sqrt(2 + finite**2)) / 2
    assert student_t.upper_tail(finite, 2) == pytest.approx(expected, abs=1e-15)


def test_a_symmetric_sample_has_students_statistic():
    """Mean 3, variance 2.5, five values: t = (3 - 1) / sqrt(2.5 / 5) = 2.828 with 4 degrees of freedom."""
    found = student_t.p_values(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]]), 1.0)
    assert found == pytest.approx(student_t.upper_tail(np.array([2 * math.sqrt(2)]), 4), abs=1e-15)


def test_left_skewness_is_corrected_and_right_skewness_is_not():
    """Values 1, 1, 1, 1, -4 + 2: mean 0.4, deviations 0.6 four times and -2.4.

    Variance by 5: 1.44, third moment -2.592, skewness -1.5, adjusted by sqrt(20) / 3: -2.236, times 1.5:
    -3.354. Standard error sqrt(1.44 / 4) = 0.6; t of the bound -1.4 is 3. Hall's transformation is
    3 - 3.354 * 19 / (6 * 2.236) + 11.25 * 27 / (27 * 5) = 3 - 4.75 + 2.25 = 0.5.
    """
    left = np.array([[1.0, 1.0, 1.0, 1.0, -2.0]])
    assert student_t.p_values(left, -1.4) == pytest.approx(
        student_t.upper_tail(np.array([0.5]), 4), abs=1e-12
    )
    assert student_t.p_values(-left, -3.4 + 1.2) == pytest.approx(
        student_t.upper_tail(np.array([3.0]), 4), abs=1e-12
    )


def test_the_correction_never_accepts_more_than_students_t():
    """The same values and the bound -5: t is 9, and Hall's transformation 9 - 40.75 + 60.75 = 29."""
    found = student_t.p_values(np.array([[1.0, 1.0, 1.0, 1.0, -2.0]]), -5.0)
    assert found == pytest.approx(student_t.upper_tail(np.array([9.0]), 4), rel=1e-9)


@pytest.mark.parametrize("bound", [-1.0, 0.0, 2.0])
def test_equal_values_are_above_a_lower_bound_for_certain(bound):
    assert student_t.p_values(np.full((1, 20), 0.1), bound)[0] == (0.0 if bound < 0.1 else 1.0)
    assert student_t.p_values(np.full((1, 20), bound), bound)[0] == 1.0
    assert student_t.lower_end(np.full(20, 0.1), 0.01) == 0.1


@pytest.mark.parametrize("unit", [1e-300, 1e-3, 1e150, 1e300])
def test_the_unit_changes_nothing(unit):
    values = generator(0, "tests/unit").exponential(size=(1, 30))
    assert student_t.p_values(-values * unit, -1.3 * unit) == pytest.approx(student_t.p_values(-values, -1.3))


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("level", [0.04, 0.0008])
def test_the_lower_end_is_where_the_p_value_is_the_level(side, level):
    for values in side * generator(1, "tests/ends").exponential(size=(50, 30)):
        end = student_t.lower_end(values, level)
        assert student_t.p_values(values[None, :], end)[0] == pytest.approx(level, rel=1e-6)
        assert student_t.p_values(values[None, :], end - 0.1)[0] < level
