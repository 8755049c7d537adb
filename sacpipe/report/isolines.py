"""Lines of equal value through a grid of values, by marching squares."""

from collections.abc import Iterator, Sequence

Corner = tuple[float, float]
_Edge = tuple[int, int, bool]
"""Row and column of a grid point, and whether the edge goes to the next row, else to the next column."""


def isolines(values: Sequence[Sequence[float]], level: float) -> list[list[Corner]]:
    """Return the lines on which linearly interpolated values have this level.

    Args:
        values: Rows of the same length, at least two of two.
        level: Value of the lines.

    Returns:
        Lines of points (column, row), in units of the grid; a closed line ends with its first point.
    """
    neighbours: dict[_Edge, list[_Edge]] = {}
    for first, second in _segments(values, level):
        neighbours.setdefault(first, []).append(second)
        neighbours.setdefault(second, []).append(first)
    ends = [edge for edge, near in neighbours.items() if len(near) == 1]
    starts = [*ends, *neighbours]  # open lines from an end, then the closed ones
    return [
        [_point(values, level, edge) for edge in _walk(neighbours, start)]
        for start in starts
        if neighbours[start]  # else its line was followed already
    ]


def _walk(neighbours: dict[_Edge, list[_Edge]], start: _Edge) -> Iterator[_Edge]:
    """Follow a line to its end, and take its segments away."""
    here = start
    yield here
    while neighbours[here]:
        following = neighbours[here].pop()
        neighbours[following].remove(here)
        yield following
        here = following


def _segments(values: Sequence[Sequence[float]], level: float) -> Iterator[tuple[_Edge, _Edge]]:
    """Yield the pairs of edges that a line connects within each cell."""
    above = [[value > level for value in row] for row in values]
    for row in range(len(values) - 1):
        for column in range(len(values[0]) - 1):
            corners = (
                above[row][column],
                above[row][column + 1],
                above[row + 1][column + 1],
                above[row + 1][column],
            )
            edges = (
                (row, column, False),
                (row, column + 1, True),
                (row + 1, column, False),
                (row, column, True),
            )
            crossed = [edge for place, edge in enumerate(edges) if corners[place] != corners[(place + 1) % 4]]
            if len(crossed) == 2:
                yield crossed[0], crossed[1]
            elif crossed:  # a saddle: one corner above is cut off from the other
                shift = 0 if corners[0] else 1
                for place in (shift, shift + 2):
                    yield crossed[place - 1], crossed[place]


def _point(values: Sequence[Sequence[float]], level: float, edge: _Edge) -> Corner:
    row, column, is_down = edge
    here = values[row][column]
    there = values[row + 1][column] if is_down else values[row][column + 1]
    share = (level - here) / (there - here)
    return (float(column), row + share) if is_down else (column + share, float(row))
