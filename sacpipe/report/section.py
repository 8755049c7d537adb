"""What a section of the page is: a title, a template, and the values that the template shows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sacpipe.report.numbers import count, interval
from sacpipe.report.outputs import Outputs
from sacpipe.report.points import Line, thinned

_MAX_ROWS = 20


class Section(NamedTuple):
    """One section. Every value is escaped, except for drawings of sacpipe.report.charts."""

    title: str
    template: str
    """Name of a file in sacpipe/report/templates, or the text of a Jinja2 template."""
    values: Mapping[str, Any]


Build = Callable[[Outputs], Section | None]
"""Makes a section of a project's outputs; None where the project has none of its kind."""


class Table(NamedTuple):
    """A table; the first cell of a row is its head."""

    caption: str
    """For screen readers, and the name of a folded table."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    numeric_from: int = 1
    """First column whose cells are numbers, aligned at the right."""


def values_table(caption: str, lines: Sequence[Line], interval_name: str = "range") -> Table:
    """Return the values of a chart's lines, at most 20 rows, evenly spread.

    Args:
        caption: Name of the table.
        lines: Lines over environment steps.
        interval_name: What the range of a value is.
    """
    steps = thinned(sorted({point.x for line in lines for point in line.points}), _MAX_ROWS)
    ranged = [line for line in lines if any(point.low < point.high for point in line.points)]
    columns = [
        "Steps",
        *(head for line in lines for head in (line.name, interval_name)[: 1 + (line in ranged)]),
    ]
    rows = [[count(step)] for step in steps]
    for line in lines:
        found = {point.x: point for point in line.points}
        for row, point in zip(rows, map(found.get, steps), strict=True):
            row.append("" if point is None else point.shown)
            if line in ranged:
                row.append("" if point is None else interval(point.low, point.high))
    return Table(caption, columns, rows, numeric_from=0)
