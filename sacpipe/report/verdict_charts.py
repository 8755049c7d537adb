"""Plots of a verdict: returns by seed, paired differences with their interval, perturbed returns."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sacpipe.release.verdict import Finding, Verdict
from sacpipe.report.charts import (
    COLOURS,
    FLAT,
    Size,
    axes_at,
    dots,
    drawing,
    limits,
    name_axis,
    set_ticks,
)
from sacpipe.report.numbers import interval, number

_CANDIDATE, _CHAMPION = "bundle", "stochastic"
"""Keys of `COLOURS`."""
_PERTURBED = ("observation_noise", "dropouts", "delay", "mass", "friction")
"""Rules whose figure is a mean return under a perturbation."""
_ROW, _TOP, _BOTTOM = 38.0, 24.0, 52.0
"""Height of a row of bars, and room above and below, in pixels."""
_LEFT = 64.0


class Plot(NamedTuple):
    """One drawing and its caption."""

    caption: str
    drawing: Markup


def verdict_plots(verdict: Verdict) -> list[Plot]:
    """Return the plots that a verdict has numbers for."""
    return [*_returns(verdict), *_differences(verdict), *_bars(verdict)]


def _returns(verdict: Verdict) -> Iterator[Plot]:
    ours, theirs = verdict.scores.candidate, verdict.scores.champion
    if all(value is None for value in ours):
        return
    caption = f"Return of each of {len(ours)} episodes, by the robot's own runtime: candidate in green"
    caption += f", the champion on the same seeds ({len(theirs)}) in orange." if theirs else "."
    rows = [(ours, _CANDIDATE), (theirs, _CHAMPION)]
    yield Plot(caption, drawing(caption, FLAT, partial(_draw_by_seed, rows, None, "return")))


def _differences(verdict: Verdict) -> Iterator[Plot]:
    pairs = list(zip(verdict.scores.candidate, verdict.scores.champion, strict=False))
    if not pairs:
        return
    values = [None if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]
    if all(value is None for value in values):
        return
    compared = next((one for one in verdict.findings if one.interval is not None), None)
    caption = f"Candidate minus champion on the same {len(values)} seeds"
    if compared is not None and compared.interval is not None:
        caption += f"; the band is the interval of the mean, {interval(*compared.interval)}"
    caption += "."
    band = None if compared is None else compared.interval
    rows = [(values, "deterministic")]
    yield Plot(caption, drawing(caption, FLAT, partial(_draw_by_seed, rows, band, "difference")))


def _bars(verdict: Verdict) -> Iterator[Plot]:
    found = [one for one in verdict.findings if one.rule in _PERTURBED and one.figure is not None]
    scores = [value for value in verdict.scores.candidate if value is not None]
    if not found or not scores:
        return
    nominal = sum(scores) / len(scores)
    shown = ", ".join(f"{one.rule} {number(one.figure or 0.0)}" for one in found)
    caption = f"Mean return under the worst perturbation of each rule: {shown}. The line is the unperturbed "
    caption += f"mean, {number(nominal)}; a mark is a floor."
    height = _TOP + _ROW * len(found) + _BOTTOM
    sizes = Size(1080, height), Size(360, height)
    yield Plot(caption, drawing(caption, sizes, partial(_draw_bars, found, nominal)))


def _draw_by_seed(
    rows: Sequence[tuple[Sequence[float | None], str]],
    band: tuple[float, float] | None,
    unit: str,
    figure: Figure,
    size: Size,
) -> None:
    axes = axes_at(figure, size, (_LEFT, _TOP, size.width - _LEFT - 14, size.height - _TOP - _BOTTOM))
    values = [value for row, _ in rows for value in row if value is not None] + list(band or ())
    count = max(len(row) for row, _ in rows)
    axes.set(xlim=(-0.5, count - 0.5), ylim=limits([*values, 0.0] if unit == "difference" else values))
    set_ticks(axes, "y", 4)
    step = max(1, -(-count // (10 if size.is_wide else 5)))
    axes.set_xticks(range(0, count, step))
    axes.annotate(unit, (0, 1), (-_LEFT, 10), xycoords="axes fraction", textcoords="offset points")
    name_axis(axes, "number of the episode's seed")
    if unit == "difference":
        axes.axhline(0, color=COLOURS["ink"], lw=1.2, alpha=0.6)
    if band is not None:
        axes.axhspan(*band, color=COLOURS["signal"], alpha=0.2, lw=0)
    for row, colour in reversed(rows):
        points = [(seed, value) for seed, value in enumerate(row) if value is not None]
        if points:
            dots(axes, points, colour, 4, 0.75)


def _draw_bars(found: Sequence[Finding], nominal: float, figure: Figure, size: Size) -> None:
    left = 150.0
    height = _ROW * len(found)
    axes = axes_at(figure, size, (left, _TOP, size.width - left - 20, height))
    figures = [one.figure or 0.0 for one in found]
    floors = [one.threshold for one in found if one.threshold is not None]
    axes.set(xlim=limits([*figures, *floors, nominal]), ylim=(len(found) - 0.5, -0.5), yticks=[])
    set_ticks(axes, "x", 7 if size.is_wide else 3)
    name_axis(axes, "mean return")
    axes.axvline(nominal, color=COLOURS["ink"], lw=1.2, alpha=0.7)
    for row, one in enumerate(found):
        _draw_bar(axes, row, one, nominal)


def _draw_bar(axes: Axes, row: int, one: Finding, nominal: float) -> None:
    value = one.figure or 0.0
    colour = COLOURS[_CANDIDATE if one.ok else _CHAMPION]
    axes.plot([nominal, value], [row, row], color=colour, lw=9, alpha=0.45, solid_capstyle="butt")
    axes.plot(value, row, color=colour, marker="o", ms=8, clip_on=False)
    if one.threshold is not None:
        axes.plot([one.threshold] * 2, [row - 0.32, row + 0.32], color=COLOURS["ink"], lw=2.2)
    axes.annotate(one.rule, (0, row), (-142, -4), ("axes fraction", "data"), textcoords="offset points")
