"""Line charts as inline SVG: axes, bands, dots, labels at the lines, and values on hover without a script.

Every chart is drawn twice, for a wide and for a narrow window, and the style sheet shows one of them, so
that text keeps its size. Colours are classes, which the style sheet defines.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sacpipe.report import numbers
from sacpipe.report.curves import Point, thinned
from sacpipe.report.markup import Markup, coordinate, join, tag
from sacpipe.report.scales import Scale, fit, span

_MAX_HOVERS = 60
_HOVER_WIDTH = 480
"""Width from which a chart has values on hover; narrow windows are mostly touch screens, without hovering."""

_LABEL_GAP = 17.0
_CHARACTER_WIDTH = 7.2
"""Average width of a character of 12-unit text, rounded up; sets the width of the boxes of values."""


class Size(NamedTuple):
    """A drawing in user units, with the margins around its plot."""

    width: float
    height: float
    left: float
    right: float
    top: float = 30.0
    bottom: float = 46.0


@dataclass(frozen=True)
class Series:
    """One line: its points in order, and the style sheet's class for colour and dashes."""

    name: str
    kind: str
    points: Sequence[Point]


@dataclass(frozen=True)
class Chart:
    """The contents of a line chart, for any size."""

    label: str
    """The chart in one sentence, for screen readers."""
    unit: str
    """Unit of the vertical axis."""
    steps: float
    """End of the horizontal axis, the same for all charts of a page."""
    series: Sequence[Series]
    dots: Sequence[tuple[float, float]] = ()
    """Single values behind the lines, as (steps, value)."""
    reference: float | None = None
    """Value of a dotted horizontal line, which the caption explains; None for no line."""
    may_log: bool = False
    """Whether the vertical axis may be logarithmic."""
    from_zero: bool = False
    """Whether a linear vertical axis begins at zero, as for a rate."""


class _Plot(NamedTuple):
    size: Size
    x: Scale
    y: Scale

    @property
    def right(self) -> float:
        return self.size.width - self.size.right

    @property
    def bottom(self) -> float:
        return self.size.height - self.size.bottom


LARGE = (Size(1040, 440, 58, 150), Size(360, 310, 46, 10))
SMALL = (Size(500, 246, 52, 14), Size(360, 236, 46, 10))


def figure(chart: Chart, sizes: tuple[Size, Size]) -> Markup:
    """Return a chart at both sizes; the style sheet shows one of them."""
    return join(
        tag("div", draw(chart, size), class_=f"plot {window}")
        for window, size in zip(("wide", "narrow"), sizes, strict=True)
    )


def draw(chart: Chart, size: Size) -> Markup:
    """Return one chart as an SVG element of this size."""
    plot = _layout(chart, size)
    layers = [
        _axes(plot, chart.unit),
        tag("g", [tag("circle", cx=plot.x(x), cy=plot.y(y), r=1.8) for x, y in chart.dots], class_="dots"),
        _reference(plot, chart.reference),
        [_band(plot, series) for series in chart.series],
        [_line(plot, series) for series in chart.series],
        _direct_labels(plot, chart.series) if size.right > 60 else None,
        _hovers(plot, chart.series) if size.width >= _HOVER_WIDTH else None,
    ]
    view = f"0 0 {coordinate(size.width)} {coordinate(size.height)}"
    return tag(
        "svg", layers, viewBox=view, role="img", aria_label=chart.label, xmlns="http://www.w3.org/2000/svg"
    )


def _layout(chart: Chart, size: Size) -> _Plot:
    points = [point for series in chart.series for point in series.points]
    values = [end for point in points for end in (point.low, point.high)] + [y for _, y in chart.dots]
    if chart.reference is not None:
        values.append(chart.reference)
    bottom = size.height - size.bottom
    x = span(chart.steps, size.left, size.width - size.right, num_ticks=6 if size.width > 700 else 4)
    y = fit(values, bottom, size.top, num_ticks=5 if size.height > 280 else 4, may_log=chart.may_log)
    if chart.from_zero and not y.is_log:
        y = fit([*values, 0.0], bottom, size.top, num_ticks=4)
    return _Plot(size, x, y)


def _axes(plot: _Plot, unit: str) -> Markup:
    left, right, bottom = plot.size.left, plot.right, plot.bottom
    lines: list[Markup] = []
    for tick, label in plot.y.labelled:
        y = plot.y(tick)
        lines.append(tag("line", x1=left, x2=right, y1=y, y2=y, class_="zero" if tick == 0 else "grid"))
        lines.append(tag("text", label, x=left - 8, y=y + 4, class_="tick end"))
    for tick, label in plot.x.labelled:
        x = plot.x(tick)
        lines.append(tag("line", x1=x, x2=x, y1=bottom, y2=bottom + 5, class_="mark"))
        lines.append(tag("text", label, x=x, y=bottom + 19, class_="tick middle"))
    lines.append(tag("line", x1=left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    lines.append(tag("text", "environment steps", x=right, y=bottom + 37, class_="unit end"))
    scale = f"{unit}, logarithmic" if plot.y.is_log else unit
    lines.append(tag("text", scale, x=0, y=12, class_="unit"))
    return tag("g", lines, class_="axes")


def _reference(plot: _Plot, value: float | None) -> Markup | None:
    if value is None:
        return None
    y = plot.y(value)
    return tag("line", x1=plot.size.left, x2=plot.right, y1=y, y2=y, class_="reference")


def _band(plot: _Plot, series: Series) -> Markup | None:
    if all(point.low == point.high for point in series.points):
        return None
    upper = [_pair(plot, point.x, point.high) for point in series.points]
    lower = [_pair(plot, point.x, point.low) for point in reversed(series.points)]
    if len(series.points) == 1:
        x, low, high = plot.x(series.points[0].x), series.points[0].low, series.points[0].high
        return tag("line", x1=x, x2=x, y1=plot.y(low), y2=plot.y(high), class_=f"whisker {series.kind}")
    return tag("path", d=f"M{'L'.join(upper + lower)}Z", class_=f"band {series.kind}")


def _line(plot: _Plot, series: Series) -> Markup:
    path = "M" + "L".join(_pair(plot, point.x, point.y) for point in series.points)
    marks = series.points if len(series.points) <= 30 else series.points[-1:]
    return tag(
        "g",
        tag("path", d=path) if len(series.points) > 1 else None,
        [tag("circle", cx=plot.x(point.x), cy=plot.y(point.y), r=3.2) for point in marks],
        class_=f"line {series.kind}",
    )


def _direct_labels(plot: _Plot, series: Sequence[Series]) -> Markup:
    """Return each line's name and last value beside its end, spread so that labels do not overlap."""
    labels, lowest = [], plot.size.top
    for one in sorted(series, key=lambda one: plot.y(one.points[-1].y)):
        last = one.points[-1]
        lowest = max(plot.y(last.y), lowest)
        name = tag("tspan", one.name, class_="name")
        value = numbers.number(last.y, resolution=(last.high - last.low) or None)
        labels.append(
            tag("text", name, f" {value}", x=plot.right + 12, y=lowest + 4, class_=f"end-label {one.kind}")
        )
        lowest += _LABEL_GAP
    return tag("g", labels)


def _hovers(plot: _Plot, series: Sequence[Series]) -> Markup:
    """Return invisible columns; one shows a vertical line and the values while the pointer is over it."""
    steps = thinned(sorted({point.x for one in series for point in one.points}), _MAX_HOVERS)
    found = [{point.x: point for point in one.points} for one in series]
    columns = []
    for index, step in enumerate(steps):
        x = plot.x(step)
        start = (plot.x(steps[index - 1]) + x) / 2 if index else plot.size.left
        end = (plot.x(steps[index + 1]) + x) / 2 if index + 1 < len(steps) else plot.right + 4
        here = [(one, points[step]) for one, points in zip(series, found, strict=True) if step in points]
        height = plot.bottom - plot.size.top
        hit = tag("rect", x=start, y=plot.size.top, width=max(end - start, 1.0), height=height, class_="hit")
        rule = tag("line", x1=x, x2=x, y1=plot.size.top, y2=plot.bottom)
        rings = [tag("circle", cx=x, cy=plot.y(point.y), r=4.5, class_=one.kind) for one, point in here]
        columns.append(
            tag("g", hit, tag("g", rule, rings, _tip(plot, step, here), class_="shown"), class_="hover")
        )
    return tag("g", columns)


def _tip(plot: _Plot, step: float, here: Sequence[tuple[Series, Point]]) -> Markup:
    lines = [f"{numbers.count(step)} steps"]
    for series, point in here:
        resolution = (point.high - point.low) or None
        around = f"  ({numbers.interval(point.low, point.high)})" if resolution else ""
        lines.append(f"{series.name} {numbers.number(point.y, resolution=resolution)}{around}")
    width = max(len(line) for line in lines) * _CHARACTER_WIDTH + 20
    width = min(width, plot.size.width - 8)
    x = plot.x(step) + 12
    if x + width > plot.size.width - 4:
        x = max(plot.x(step) - 12 - width, 4.0)
    box = tag("rect", x=x, y=plot.size.top, width=width, height=18.0 * len(lines) + 12, rx=6)
    kinds = ["when", *(series.kind for series, _ in here)]
    texts = [
        tag("text", line, x=x + 10, y=plot.size.top + 20 + 18.0 * row, class_=kind)
        for row, (line, kind) in enumerate(zip(lines, kinds, strict=True))
    ]
    return tag("g", box, texts, class_="tip")


def _pair(plot: _Plot, x: float, y: float) -> str:
    return f"{plot.x(x):.1f},{plot.y(y):.1f}"
