"""Charts as inline SVG by matplotlib: lines with bands, strips of episodes, and a canvas for others.

Each is drawn for a wide and for a narrow window, so that text keeps its size; the style sheet shows one of
the two. Texts stay texts, colours are the style sheet's variables, and nothing depends on the machine.
"""

import io
import logging
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup, escape
from matplotlib import style
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import ArrayLike

from sacpipe.report.numbers import number, tick_labels
from sacpipe.report.points import Line, Point, thinned

COLOURS = {
    "ink": "#1a1f26",
    "quiet": "#59636f",
    "paper": "#fbfbf9",
    "grid": "#ebecea",
    "deterministic": "#0072b2",
    "stochastic": "#c55a00",
    "bundle": "#00805f",
    "signal": "#6a4c93",
    "dot": "#8b95a1",
    "no": "#a8321a",
}
"""Colours of a drawing, by variable of templates/style.css: those of a light window, and no two the same."""

_STYLE = Path(__file__).with_name("templates") / "charts.mplstyle"
_SVG = "http://www.w3.org/2000/svg"
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_CHARACTER = 7.4
"""Average width of a character in pixels, rounded up."""
_LABEL_GAP = 17.0
_LOG_RATIO = 30.0
"""Ratio of highest to lowest value from which an axis is logarithmic, where that is allowed."""
_DASHES = {"stochastic": (0, (2.6, 1.8))}
_MAX_DOTS, _MAX_MARKED = 400, 30
"""Largest numbers of dots in a strip, and of points of a line that has each of them marked."""
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_NOT_NEEDED = re.compile(
    r'<defs>\s*<(style|clipPath).*?</defs>| id="(?!m[0-9a-f]{10}")[^"]*"| clip-path="[^"]*"'
    r'| transform="rotate\(-0 [^"]*"|font-family: [^;"]*;? ?|<g/>',
    re.DOTALL,
)
_COORDINATES = re.compile(r' (?:d|x|y)="[^"]*"')

logging.getLogger("matplotlib").setLevel(logging.ERROR)  # else a first run writes about its font cache


class Size(NamedTuple):
    """Width and height of a drawing in pixels."""

    width: float
    height: float

    @property
    def is_wide(self) -> bool:
        """Whether there is room beside the plot."""
        return self.width > 700


LARGE = (Size(1080, 440), Size(360, 310))
FLAT = (Size(1080, 264), Size(360, 236))
SMALL = (Size(500, 246), Size(360, 236))
"""Sizes for a wide and for a narrow window."""


@dataclass(frozen=True)
class Chart:
    """The contents of a line chart over environment steps."""

    title: str
    """What is drawn, for screen readers."""
    unit: str
    """Unit of the vertical axis."""
    steps: float
    """End of the horizontal axis, the same for all charts of a page."""
    lines: Sequence[Line]
    dots: Sequence[tuple[float, float]] = ()
    """Single values behind the lines, as (steps, value)."""
    reference: float | None = None
    """Value of a dotted horizontal line, which the caption explains; None for no line."""
    may_log: bool = False
    """Whether the vertical axis may be logarithmic."""
    from_zero: bool = False
    """Whether a linear vertical axis begins at zero, as for a rate."""


Strip = tuple[Sequence[float], Point]
"""One row of a strip plot: the values of a policy, and their mean with its interval."""


def printable(text: object) -> str:
    """Return a text in which U+FFFD replaces the characters that XML does not allow."""
    return _UNPRINTABLE.sub("\ufffd", str(text))


def line_chart(chart: Chart, sizes: tuple[Size, Size] = SMALL) -> Markup:
    """Return a line chart, with names and last values at the lines' ends where there is room."""
    ends = ", ".join(f"{line.name} {line.points[-1].shown}" for line in chart.lines)
    return drawing(
        f"{chart.title} over environment steps. At the end: {ends}.", sizes, partial(_draw_lines, chart)
    )


def strip_plot(unit: str, strips: Mapping[str, Strip]) -> Markup:
    """Return a row for each policy: a dot for each value, and below them the mean and its interval."""
    means = ", ".join(f"{policy} {mean.shown}" for policy, (_, mean) in strips.items())
    height = 84.0 * len(strips)

    def draw(figure: Figure, size: Size) -> None:
        axes = axes_at(figure, size, (14, 4, size.width - 38, height))
        ends = [end for values, mean in strips.values() for end in (*values, mean.low, mean.high)]
        axes.set(xlim=limits(ends), ylim=(height, 0), yticks=[])
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="x", length=0, pad=8)
        set_ticks(axes, "x", 7 if size.is_wide else 3)
        name_axis(axes, unit)
        for index, (policy, strip) in enumerate(strips.items()):
            _draw_strip(axes, policy, strip, 84.0 * index, size.width - 38)

    sizes = Size(1080, height + 50), Size(360, height + 50)
    return drawing(f"{unit} by policy. Means: {means}.".capitalize(), sizes, draw)


def drawing(label: str, sizes: tuple[Size, Size], draw: Callable[[Figure, Size], None]) -> Markup:
    """Return a drawing at both sizes.

    Args:
        label: The drawing in a sentence, for screen readers; two drawings of a page differ in it.
        sizes: For a wide and for a narrow window.
        draw: Draws on an empty figure, in the colours of `COLOURS`.
    """
    parts = []
    for window, size in zip(("wide", "narrow"), sizes, strict=True):
        text = svg(label, size, draw)
        for name, colour in COLOURS.items():
            text = text.replace(colour, f"var(--{name})")
        parts.append(f'<div class="plot {window}">{text}</div>')
    return Markup("").join(map(Markup, parts))


def svg(label: str, size: Size, draw: Callable[[Figure, Size], None]) -> str:
    """Return one drawing in the colours of `COLOURS`; the arguments are those of `drawing`.

    What a browser needs not is left out: ids, the names of fonts, and more than two decimals.
    """
    file, label = io.StringIO(), printable(label)
    with style.context(["default", _STYLE, {"svg.hashsalt": f"{label} {size}"}]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of glyphs that matplotlib's font lacks; the browser has its own
        figure = Figure(figsize=(size.width / 72, size.height / 72))
        FigureCanvasSVG(figure)
        draw(figure, size)
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    text = _NOT_NEEDED.sub("", file.getvalue().partition("<svg ")[2].partition(">")[2])
    text = _COORDINATES.sub(lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    text = re.sub(r">\s+<", "><", re.sub(r"\s*\n\s*", " ", text)).replace("xlink:href", "href").strip()
    box = f"0 0 {size.width:g} {size.height:g}"
    name = f'role="img" aria-label="{escape(label)}"'
    return f'<svg xmlns="{_SVG}" viewBox="{box}" font-family="sans-serif" {name}>{text}'


def axes_at(figure: Figure, size: Size, box: tuple[float, float, float, float]) -> Axes:
    """Return axes at a place: its left, its top, its width and its height in pixels."""
    return figure.add_axes(_place(size, box))


def _place(size: Size, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    bottom = size.height - top - height
    return left / size.width, bottom / size.height, width / size.width, height / size.height


def dots(axes: Axes, points: ArrayLike, colour: str, radius: float, alpha: float) -> None:
    """Draw discs as one path, which is a third as long as one element each.

    Args:
        axes: Where.
        points: Their centres, in the axes' units. Shape (number, 2).
        colour: Key of `COLOURS`.
        radius: In pixels.
        alpha: Opacity.
    """
    path = np.repeat(np.asarray(points, dtype=np.float64), 3, axis=0)
    path[2::3] = np.nan
    axes.plot(*path.T, color=COLOURS[colour], lw=2 * radius, alpha=alpha, clip_on=False)


def _draw_lines(chart: Chart, figure: Figure, size: Size) -> None:
    """Draw axes, dots, bands, lines and labels."""
    axes = axes_at(figure, size, (0, 0, size.width, size.height))
    axes.set_xlim(0, max(chart.steps, 1))
    is_log = _set_height(axes, chart)
    ticks = set_ticks(axes, "y", 5 if size.height > 280 else 4)
    set_ticks(axes, "x", 6 if size.is_wide else 4)
    labels = [printable(f"{line.name} {line.points[-1].shown}") for line in chart.lines]
    is_labelled = size.is_wide and len(labels) > 1
    left = 14 + _CHARACTER * max(map(len, ticks), default=0)
    right = 14 + 1.15 * _CHARACTER * max(map(len, labels)) if is_labelled else 14
    box = left, 30, size.width - left - right, size.height - 76
    axes.set_position(_place(size, box))
    unit = printable(f"{chart.unit}, logarithmic" if is_log else chart.unit)
    axes.annotate(unit, (0, 1), (-left, 18), xycoords="axes fraction", textcoords="offset points")
    name_axis(axes, "environment steps")
    if axes.get_ylim()[0] < 0 < axes.get_ylim()[1]:
        axes.axhline(0, color=COLOURS["quiet"], lw=1, alpha=0.55)
    if chart.dots:
        dots(axes, chart.dots, "dot", 1.8, 0.42)
    if chart.reference is not None:
        axes.axhline(chart.reference, color=COLOURS["ink"], lw=1.2, ls=(0, (1.6, 3.2)), alpha=0.75)
    for line in chart.lines:
        _draw_line(axes, line)
    if is_labelled:
        _label_ends(axes, chart.lines, labels, box[3])


def _set_height(axes: Axes, chart: Chart) -> bool:
    """Set the range of the vertical axis, and return whether it is logarithmic."""
    values = [end for line in chart.lines for point in line.points for end in (point.low, point.high)]
    values += [y for _, y in chart.dots] + ([] if chart.reference is None else [chart.reference])
    low, high = min(values), max(values)
    if chart.may_log and low > 0 and high / low >= _LOG_RATIO:
        axes.set_yscale("log")
        axes.set_ylim(10.0 ** math.floor(math.log10(low)), 10.0 ** math.ceil(math.log10(high)))
        return True
    axes.set_ylim(*limits([*values, 0.0] if chart.from_zero else values))
    return False


def _draw_line(axes: Axes, line: Line) -> None:
    """Draw a line with its band, and with its points where they are few."""
    x, y, low, high = np.array(line.points).T
    colour, is_signal = COLOURS[line.colour], line.colour == "signal"
    if np.any(low < high):
        axes.fill_between(x, low, high, color=colour, alpha=0.17, lw=0, clip_on=False)
    if len(x) == 1:
        axes.vlines(x, low, high, color=colour, lw=2, alpha=0.5)
    marker = "o" if len(x) == 1 or (len(x) <= _MAX_MARKED and not is_signal) else ""
    look = axes.plot(x, y, color=colour, marker=marker, ms=6.4, mec=COLOURS["paper"], clip_on=False)[0]
    look.set(linewidth=1.7 if is_signal else 2.2, linestyle=_DASHES.get(line.colour, "-"))


def _label_ends(axes: Axes, lines: Sequence[Line], labels: Sequence[str], height: float) -> None:
    """Write each line's name and last value beside its end, spread so that labels do not overlap."""
    to_share = axes.transScale + axes.transLimits
    ceiling = height
    for line, label in sorted(zip(lines, labels, strict=True), key=lambda one: -one[0].points[-1].y):
        end = to_share.transform((0.0, line.points[-1].y))[1] * height
        ceiling = min(end, ceiling)
        text = axes.annotate(label, (1, 0), (12, ceiling - 4), "axes fraction", textcoords="offset points")
        text.set(color=COLOURS[line.colour], weight="bold")
        ceiling -= _LABEL_GAP


def limits(values: Sequence[float]) -> tuple[float, float]:
    """Return a range 4% wider at both ends. An end near zero becomes zero; no end crosses zero."""
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        room = 0.05 * max(abs(low), abs(high)) or 1.0
        low, high = low - room, high + room
    margin, near = 0.04 * (high - low), 0.15 * (high - low)
    return 0.0 if 0 <= low < near else low - margin, 0.0 if -near < high <= 0 else high + margin


def set_ticks(axes: Axes, name: str, count: int) -> list[str]:
    """Set round ticks on an axis, and return their labels."""
    axis, (low, high) = (axes.yaxis, axes.get_ylim()) if name == "y" else (axes.xaxis, axes.get_xlim())
    is_log = axis.get_scale() == "log"
    locator = LogLocator(numticks=count + 1) if is_log else MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
    ticks = [tick for tick in np.asarray(locator.tick_values(low, high)).tolist() if low <= tick <= high]
    labels = [number(tick) for tick in ticks] if is_log or not ticks else tick_labels(ticks)
    axis.set_ticks(ticks, labels)
    return labels


def name_axis(axes: Axes, text: str) -> None:
    """Write the unit of the horizontal axis below its right end."""
    axes.annotate(text, (1, 0), (0, -37), xycoords="axes fraction", textcoords="offset points", ha="right")


def _draw_strip(axes: Axes, policy: str, strip: Strip, top: float, width: float) -> None:
    """Draw one row; dots of about the same value are stacked around its middle."""
    colour, (low, high), (values, mean) = COLOURS[policy], axes.get_xlim(), strip
    shown = thinned(sorted(values), _MAX_DOTS)
    columns = [round((value - low) / (high - low) * width / 8) for value in shown]
    ranks = [columns[:index].count(column) for index, column in enumerate(columns)]
    lifts = [min((rank + 1) // 2 * 7.0, 17.5) * (-1) ** rank for rank in ranks]
    dots(axes, [(x, top + 44 + lift) for x, lift in zip(shown, lifts, strict=True)], policy, 4, 0.62)
    axes.plot([mean.low, mean.high], [top + 70] * 2, color=colour, lw=3.4, alpha=0.55, clip_on=False)
    axes.plot(mean.y, top + 70, color=colour, marker="D", ms=7, clip_on=False)
    axes.text(0, top + 17, policy, color=colour, weight="bold", transform=axes.get_yaxis_transform())
