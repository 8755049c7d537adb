"""The strip plot: a row for each policy, a dot for each episode, the mean and its interval below."""

from collections.abc import Sequence
from dataclasses import dataclass

from sacpipe.report.charts import Size
from sacpipe.report.curves import thinned
from sacpipe.report.markup import Markup, coordinate, join, tag
from sacpipe.report.scales import Scale, fit

_ROW_HEIGHT = 84.0
_RADIUS = 4.0
_MAX_DOTS = 400
_MAX_LIFT = 18.0
SIZES = (Size(1040, 0, 16, 24, 4, 46), Size(360, 0, 10, 14, 4, 46))


@dataclass(frozen=True)
class Strip:
    """One row: the values, each with a label to show under the pointer, and the interval of their mean."""

    name: str
    kind: str
    values: Sequence[tuple[float, str]]
    mean: float
    low: float
    high: float


def figure(label: str, unit: str, strips: Sequence[Strip]) -> Markup:
    """Return the plot at both sizes; the style sheet shows one of them."""
    return join(
        tag("div", draw(label, unit, strips, size), class_=f"plot {window}")
        for window, size in zip(("wide", "narrow"), SIZES, strict=True)
    )


def draw(label: str, unit: str, strips: Sequence[Strip], size: Size) -> Markup:
    """Return the plot as an SVG element; its height follows the number of rows."""
    height = size.top + len(strips) * _ROW_HEIGHT + size.bottom
    values = [end for strip in strips for end in (strip.low, strip.high)]
    values += [value for strip in strips for value, _ in strip.values]
    scale = fit(values, size.left, size.width - size.right, num_ticks=7 if size.width > 700 else 3)
    bottom = height - size.bottom
    rows = [_row(strip, scale, size.top + index * _ROW_HEIGHT) for index, strip in enumerate(strips)]
    view = f"0 0 {coordinate(size.width)} {coordinate(height)}"
    return tag(
        "svg",
        _axis(scale, unit, bottom, size.top),
        rows,
        viewBox=view,
        role="img",
        aria_label=label,
        xmlns="http://www.w3.org/2000/svg",
    )


def _axis(scale: Scale, unit: str, bottom: float, top: float) -> Markup:
    lines: list[Markup] = []
    for tick, label in scale.labelled:
        x = scale(tick)
        lines.append(tag("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        lines.append(tag("text", label, x=x, y=bottom + 19, class_="tick middle"))
    lines.append(tag("line", x1=scale.start, x2=scale.end, y1=bottom, y2=bottom, class_="axis"))
    lines.append(tag("text", unit, x=scale.end, y=bottom + 37, class_="unit end"))
    return tag("g", lines, class_="axes")


def _row(strip: Strip, scale: Scale, top: float) -> Markup:
    centre, below = top + 44, top + 70
    shown = thinned(sorted(strip.values), _MAX_DOTS)
    lifts = _lifts([scale(value) for value, _ in shown])
    dots = [
        tag("circle", tag("title", label), cx=scale(value), cy=centre + lift, r=_RADIUS)
        for (value, label), lift in zip(shown, lifts, strict=True)
    ]
    mean, low, high = scale(strip.mean), scale(strip.low), scale(strip.high)
    return tag(
        "g",
        tag("text", strip.name, x=scale.start, y=top + 17, class_="row-name"),
        tag("g", dots, class_="episodes"),
        tag("line", x1=low, x2=high, y1=below, y2=below, class_="interval"),
        tag("path", d=f"M{mean:.1f},{below - 6:.1f}l6,6l-6,6l-6,-6Z", class_="mean"),
        class_=f"strip {strip.kind}",
    )


def _lifts(places: Sequence[float]) -> list[float]:
    """Return the vertical offset of each dot, so that dots do not overlap while there is room."""
    offsets = [0.0]
    while offsets[-1] < _MAX_LIFT:
        offsets += [-abs(offsets[-1]) - 4.5, abs(offsets[-1]) + 4.5]
    placed: list[tuple[float, float]] = []
    for place in places:
        near = [(x, y) for x, y in placed[-60:] if place - x < 2 * _RADIUS]
        free = (
            lift
            for lift in offsets
            if all((place - x) ** 2 + (lift - y) ** 2 >= (1.9 * _RADIUS) ** 2 for x, y in near)
        )
        placed.append((place, next(free, offsets[len(placed) % len(offsets)])))
    return [lift for _, lift in placed]
