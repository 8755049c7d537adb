"""Plots of a verdict: returns by seed, paired differences with their interval, perturbed returns.

Numbers have the digits that the rules' own words have, so that table and captions agree.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sacpipe.release.rules.rule import RETURN, in_words
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
from sacpipe.report.shortfall import shortfall

_CANDIDATE, _CHAMPION, _DIFFERENCE, _BROKEN = "bundle", "stochastic", "deterministic", "no"
"""Keys of `COLOURS`."""
_PERTURBED = ("observation_noise", "dropouts", "delay", "mass", "friction")
"""Rules whose figure is a mean return under a perturbation."""
_ROW, _TOP, _BOTTOM = 46.0, 24.0, 52.0
"""Height of a row of bars, and room above and below, in pixels."""
_LEFT = 64.0
_NEAR = 1.5
"""A threshold farther away than this many spans of the values would flatten them: it is only named."""

_Row = tuple[Sequence[float | None], str]
"""Values by the number of the seed, and their colour."""


class Plot(NamedTuple):
    """One drawing and its caption."""

    caption: str
    drawing: Markup


class _BySeed(NamedTuple):
    """Contents of a plot over seeds."""

    unit: str
    rows: Sequence[_Row]
    judged: Finding | None
    """Has mean, interval and threshold of the first seeds; None for none."""
    threshold: str
    """Name of its threshold."""

    @property
    def values(self) -> list[float]:
        """All that is drawn in any case."""
        judged = self.judged
        found = [value for row, _ in self.rows for value in row if value is not None]
        found += [0.0] if self.unit == "difference" else []
        if judged is None or judged.figure is None:
            return found
        return [*found, judged.figure, *(judged.interval or ())]

    @property
    def place(self) -> str:
        """Where the threshold is: `in`, `above` or `below` the plot, or empty where there is none."""
        bound = None if self.judged is None else self.judged.threshold
        if bound is None:
            return ""
        low, high = min(self.values), max(self.values)
        room = _NEAR * (high - low)
        return "in" if low - room <= bound <= high + room else "above" if bound > high else "below"

    @property
    def label(self) -> str:
        """The threshold in words."""
        bound = None if self.judged is None else self.judged.threshold
        return "" if bound is None else f"{self.threshold} {in_words(bound, RETURN)}"


def verdict_plots(verdict: Verdict) -> list[Plot]:
    """Return the plots that a verdict has numbers for."""
    return [*_returns(verdict), *_differences(verdict), *_bars(verdict)]


def _returns(verdict: Verdict) -> Iterator[Plot]:
    ours, theirs = verdict.scores.candidate, verdict.scores.champion
    if all(value is None for value in ours):
        return
    plot = _BySeed("return", [(ours, _CANDIDATE), (theirs, _CHAMPION)], _finding(verdict, "floor"), "floor")
    caption = f"Return of each of {len(ours)} episodes, by the robot's own runtime: candidate as green discs"
    caption += (
        f", the champion on the same seeds ({len(theirs)}) as hollow orange diamonds." if theirs else "."
    )
    judged = plot.judged
    if judged is not None and judged.figure is not None and judged.episodes is not None:
        caption += f" The green line is the mean of the first {judged.episodes}, "
        caption += f"{in_words(judged.figure, RETURN)}."
    caption += _threshold(plot)
    yield Plot(caption, drawing(caption, FLAT, partial(_draw_by_seed, plot)))


def _differences(verdict: Verdict) -> Iterator[Plot]:
    pairs = list(zip(verdict.scores.candidate, verdict.scores.champion, strict=False))
    values = [None if ours is None or theirs is None else ours - theirs for ours, theirs in pairs]
    if all(value is None for value in values):
        return
    compared = next((one for one in verdict.findings if one.interval is not None), None)
    caption = f"Candidate minus champion on the same {len(values)} seeds."
    if compared is not None and compared.interval is not None and compared.figure is not None:
        low, high, mean = (in_words(value, RETURN) for value in (*compared.interval, compared.figure))
        after = "" if compared.episodes is None else f" after {compared.episodes} pairs"
        caption += f" The band is the interval of the mean{after}, {low} to {high}, and the line in it the "
        caption += f"mean, {mean}."
    plot = _BySeed("difference", [(values, _DIFFERENCE)], compared, "bound")
    caption += _threshold(plot)
    yield Plot(caption, drawing(caption, FLAT, partial(_draw_by_seed, plot)))


def _bars(verdict: Verdict) -> Iterator[Plot]:
    found = [one for one in verdict.findings if one.rule in _PERTURBED and one.figure is not None]
    if not found or all(value is None for value in verdict.scores.candidate):
        return
    means = [_unperturbed(verdict, one) for one in found]
    caption = "Mean return under the worst perturbation of each rule: a green disc, or a red cross where it "
    caption += "is below the rule's floor, the upright mark. "
    if any(mean is not None for mean in means):
        caption += "Each line begins at the ring, the unperturbed mean of the same episodes. "
    caption += "; ".join(_bar_words(one, mean) for one, mean in zip(found, means, strict=True)) + "."
    height = _TOP + _ROW * len(found) + _BOTTOM
    sizes = Size(1080, height), Size(360, height)
    yield Plot(caption, drawing(caption, sizes, partial(_draw_bars, found, means)))


def _finding(verdict: Verdict, rule: str) -> Finding | None:
    return next((one for one in verdict.findings if one.rule == rule), None)


def _threshold(plot: _BySeed) -> str:
    """Return the sentence about a threshold; empty where there is none."""
    if plot.judged is None or not plot.place:
        return ""
    is_known = not plot.judged.ok and plot.judged.figure is not None
    short = f"; the mean is {shortfall(plot.judged)}" if is_known else ""
    if plot.place == "in":
        return f" The dashed line is the {plot.label}{short}."
    return f" The {plot.label} is {plot.place} the plot{short}."


def _unperturbed(verdict: Verdict, one: Finding) -> float | None:
    """Return the unperturbed mean of the rule's own episodes; None where it is not known or not finite."""
    scores = verdict.scores.candidate[: one.episodes or 0]
    known = [value for value in scores if value is not None]
    return sum(known) / len(known) if known and len(known) == one.episodes else None


def _bar_words(one: Finding, mean: float | None) -> str:
    beside = [] if mean is None else [f"unperturbed {in_words(mean, RETURN)}"]
    beside += [] if one.threshold is None else [f"floor {in_words(one.threshold, RETURN)}"]
    beside += [] if one.ok else [shortfall(one)]
    return f"{one.rule} {in_words(one.figure or 0.0, RETURN)}" + (f" ({', '.join(beside)})" if beside else "")


def _draw_by_seed(plot: _BySeed, figure: Figure, size: Size) -> None:
    axes = axes_at(figure, size, (_LEFT, _TOP, size.width - _LEFT - 14, size.height - _TOP - _BOTTOM))
    count = max(len(row) for row, _ in plot.rows)
    axes.set(xlim=(-0.5, count - 0.5), ylim=_height(plot))
    set_ticks(axes, "y", 4)
    step = max(1, -(-count // (10 if size.is_wide else 5)))
    axes.set_xticks(range(0, count, step))
    axes.annotate(plot.unit, (0, 1), (-_LEFT, 10), xycoords="axes fraction", textcoords="offset points")
    name_axis(axes, "number of the episode's seed")
    if plot.unit == "difference":
        axes.axhline(0, color=COLOURS["ink"], lw=1.2, alpha=0.6)
    for row, colour in reversed(plot.rows):
        points = [(seed, value) for seed, value in enumerate(row) if value is not None]
        if points and colour == _CHAMPION:
            look = axes.plot(*zip(*points, strict=True), color=COLOURS[colour], ls="", marker="D", ms=7)[0]
            look.set(markerfacecolor="none", markeredgewidth=1.7, clip_on=False)
        elif points:
            dots(axes, points, colour, 3.6, 0.8)
    if plot.judged is not None:
        _draw_judged(axes, plot, plot.judged, count)


def _height(plot: _BySeed) -> tuple[float, float]:
    """Return the range of the vertical axis, with room for the note about a threshold outside of it."""
    bound = [plot.judged.threshold] if plot.judged is not None and plot.place == "in" else []
    low, high = limits([*plot.values, *(value for value in bound if value is not None)])
    room = 0.16 * (high - low)
    return low - room * (plot.place == "below"), high + room * (plot.place == "above")


def _draw_judged(axes: Axes, plot: _BySeed, judged: Finding, count: int) -> None:
    """Draw interval and mean over the seeds that they are of, and the threshold over all."""
    colour = COLOURS[plot.rows[0][1]]
    ends = [-0.5, min(judged.episodes or count, count) - 0.5]
    if judged.interval is not None:
        axes.fill_between(ends, *judged.interval, color=COLOURS["signal"], alpha=0.2, lw=0)
    if judged.figure is not None and judged.episodes is not None:
        axes.plot(ends, [judged.figure] * 2, color=colour, lw=2.4, alpha=0.9)
    tint = COLOURS["ink" if judged.ok else _BROKEN]
    if plot.place == "in":
        bound = judged.threshold or 0.0
        axes.axhline(bound, color=tint, lw=1.8, ls=(0, (5, 3)))
        where, text = (1.0, bound), plot.label
        note = axes.annotate(text, where, (-4, 5), ("axes fraction", "data"), textcoords="offset points")
    elif plot.place:
        is_above = plot.place == "above"
        text = f"{plot.label} {'↑' if is_above else '↓'}"
        where, lift = (1.0, float(is_above)), (-4, -16 if is_above else 5)
        note = axes.annotate(text, where, lift, "axes fraction", textcoords="offset points")
    else:
        return
    note.set(color=tint, weight="bold", ha="right")


def _draw_bars(found: Sequence[Finding], means: Sequence[float | None], figure: Figure, size: Size) -> None:
    axes = axes_at(figure, size, (14, _TOP, size.width - 34, _ROW * len(found)))
    ends = [one.figure or 0.0 for one in found] + [mean for mean in means if mean is not None]
    ends += [one.threshold for one in found if one.threshold is not None]
    axes.set(xlim=limits(ends), ylim=(len(found) - 0.5, -0.5), yticks=[])
    set_ticks(axes, "x", 7 if size.is_wide else 3)
    name_axis(axes, "mean return")
    for row, (one, mean) in enumerate(zip(found, means, strict=True)):
        _draw_bar(axes, row + 0.2, one, mean)
        text = axes.annotate(
            _bar_label(one, is_wide=size.is_wide),
            (0, row + 0.2),
            (0, 14),
            ("axes fraction", "data"),
            textcoords="offset points",
        )
        text.set(color=COLOURS["ink" if one.ok else _BROKEN], weight="normal" if one.ok else "bold")


def _bar_label(one: Finding, *, is_wide: bool) -> str:
    parts = [f"{one.rule} {in_words(one.figure or 0.0, RETURN)}"]
    if one.threshold is not None and (is_wide or one.ok):
        parts.append(f"floor {in_words(one.threshold, RETURN)}")
    return ", ".join(parts if one.ok else [*parts, shortfall(one)])


def _draw_bar(axes: Axes, row: float, one: Finding, mean: float | None) -> None:
    value, colour = one.figure or 0.0, COLOURS[_CANDIDATE if one.ok else _BROKEN]
    if mean is not None:
        axes.plot([mean, value], [row, row], color=colour, lw=4, alpha=0.45, solid_capstyle="butt")
        ring = axes.plot(mean, row, color=COLOURS["quiet"], marker="o", ms=13, clip_on=False)[0]
        ring.set(markerfacecolor="none", markeredgewidth=1.4)
    axes.plot(value, row, color=colour, marker="o" if one.ok else "X", ms=8 if one.ok else 10, clip_on=False)
    if one.threshold is not None:
        axes.plot([one.threshold] * 2, [row - 0.2, row + 0.2], color=COLOURS["ink"], lw=2.6)
