"""Lines of equal value against shapes that are known."""

import math

import pytest

from sacpipe.report.isolines import isolines


def test_a_slope_has_one_straight_line():
    """Values of the column: the level 0.25 is a quarter of a column from the first, in every row."""
    (line,) = isolines([[0.0, 1.0, 2.0]] * 4, 0.25)
    assert sorted(line) == [(0.25, 0.0), (0.25, 1.0), (0.25, 2.0), (0.25, 3.0)]


def test_a_hill_has_a_closed_line_around_its_top():
    """The square of the distance to the middle: the level 9 is a circle of radius 3."""
    values = [[(x - 5.0) ** 2 + (y - 5.0) ** 2 for x in range(11)] for y in range(11)]
    (line,) = isolines(values, 9.0)
    assert line[0] == line[-1]
    for x, y in line:
        assert math.dist((x, y), (5.0, 5.0)) == pytest.approx(3.0, abs=0.1)


def test_two_hills_have_two_lines():
    values = [[-min((x - c) ** 2 + y**2 for c in (2, 8)) for x in range(11)] for y in range(-3, 4)]
    assert len(isolines(values, -2.5)) == 2


@pytest.mark.parametrize("values", [[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
def test_a_saddle_has_two_lines_that_do_not_meet(values):
    lines = isolines(values, 0.5)
    assert len(lines) == 2
    assert not set(lines[0]) & set(lines[1])


def test_a_plane_has_no_line():
    assert isolines([[1.0, 1.0], [1.0, 1.0]], 1.0) == []
