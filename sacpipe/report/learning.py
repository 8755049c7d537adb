"""The training: its learning curve, some signals of the learner, and the speed."""

from collections.abc import Iterable, Mapping
from statistics import median

from sacpipe.algorithms import ALGORITHMS
from sacpipe.report import numbers
from sacpipe.report.charts import LARGE, SMALL, Chart, Series, figure
from sacpipe.report.curves import MAX_POINTS, Point, bucketed, evaluation_points, thinned
from sacpipe.report.data import ReportData
from sacpipe.report.elements import fold, key, section, table
from sacpipe.report.markup import Child, Markup, tag

_TABLE_ROWS = 60

_KNOWN = {
    "temperature/value": ("Temperature", "reward/nat"),
    "actor/entropy_nats": ("Entropy of the policy", "nats"),
    "critic/loss": ("Critic loss", "reward²"),
    "critic/q_mean": ("Mean Q-value", "reward"),
    "actor/loss": ("Actor loss", "reward"),
    "critic/target_mean": ("Mean target of the critics", "reward"),
}
"""Title and unit of metrics of the product's algorithms that are shown first. Others follow in alphabetical
order, under their names. Another package may mean something else by the same name."""
_MAX_SIGNALS = 4
_OTHER_ROWS = ("episode/", "evaluation/")
"""Beginnings of metrics that are not of updates."""
_MAY_LOG = frozenset({"temperature/value", "critic/loss"})
"""Positive metrics whose axis may be logarithmic."""


def learning(data: ReportData) -> Markup:
    """Return the section of the learning curve."""
    curve, steps, confidence = data.training.curve, data.training.env_steps, data.confidence
    series = []
    for policy in ("deterministic", "stochastic"):
        returns = [(row.env_steps, row.episode_return) for row in curve if row.policy == policy]
        if returns:
            series.append(Series(policy, policy, evaluation_points(returns, confidence)))
    episodes = data.training.signals.get("episode/return", ())
    dots = thinned(episodes)
    summary = _curve_summary(series[0]) + _kept_summary(data)
    label = f"Mean evaluation return over environment steps. {summary}"
    chart = Chart(label, "return of an episode", steps, series, dots)
    entries = [(f"line {one.kind}", f"{one.name} policy, mean") for one in series]
    if any(point.low < point.high for one in series for point in one.points):
        entries.append(("band", f"{numbers.interval_name(confidence)} of that mean (bootstrap)"))
    if dots:
        several = "" if len(dots) == len(episodes) else f", {len(dots)} of {numbers.count(len(episodes))}"
        entries.append(("dot", f"training episode{several}"))
    return section(
        "learning",
        "Learning curve",
        summary,
        key(entries),
        tag("figure", figure(chart, LARGE)),
        fold("The evaluations as a table", _evaluations(series, numbers.interval_name(confidence))),
    )


def signals(data: ReportData) -> Markup:
    """Return the section with one small chart for each of the first signals."""
    found = {name: data.training.signals[name] for name in shown_signals(data.training.signals, _known(data))}
    is_averaged = any(len(rows) > MAX_POINTS for rows in found.values())
    if not found:
        return section("signals", "Signals of the learner", "The algorithm logged no metrics of its updates.")
    lead = "Metrics of the updates, as the learner logged them."
    if is_averaged:
        lead += " A point is the mean of several logged rows; the band spans them."
    charts = [_signal(data, name, rows) for name, rows in found.items()]
    return section("signals", "Signals of the learner", lead, tag("div", charts, class_="multiples"))


def _known(data: ReportData) -> Mapping[str, tuple[str, str]]:
    """Return what is known of the metrics of the run's algorithm; nothing of another package's."""
    return _KNOWN if data.params["algorithm"].get("name") in ALGORITHMS.ours else {}


def shown_signals(names: Iterable[str], first: Iterable[str]) -> list[str]:
    """Return the metrics of updates that have a chart, by the names of all metrics and of the first ones."""
    learners = {name for name in names if not name.startswith(_OTHER_ROWS)}
    known = [name for name in first if name in learners]
    return (known + sorted(learners - {*known}))[:_MAX_SIGNALS]


def throughput(data: ReportData) -> Markup:
    """Return the section of the speed, or one sentence where its log is missing."""
    if data.throughput is None:
        sentence = (
            "Speed is wall-clock time, so no tracked output has it. "
            "Its log is on the machine that trained, and is missing on this one."
        )
        return section("throughput", "Throughput", sentence)
    middle = median(speed for _, speed in data.throughput)
    shown = f"{numbers.number(middle)} environment steps a second"
    chart = Chart(
        label=f"Throughput over environment steps; the median is {shown}.",
        unit="environment steps a second",
        steps=data.training.env_steps,
        series=[Series("speed", "signal", bucketed(data.throughput))],
        reference=middle,
        may_log=True,
        from_zero=True,
    )
    lead = [
        "The median, dotted, is ",
        tag("b", shown),
        ". Speed is wall-clock time: another machine gives another curve.",
    ]
    sizes = (LARGE[0]._replace(height=264.0, right=16.0), SMALL[1])
    return section("throughput", "Throughput", lead, tag("figure", figure(chart, sizes)))


def _kept_summary(data: ReportData) -> str:
    """Return which policy was kept, unless it is the last one."""
    if data.training.kept is None:
        return ""
    step, mean = data.training.kept
    best = numbers.number(mean)
    return f" The policy of step {numbers.count(step)} was kept: its evaluation was the best, {best}."


def _curve_summary(series: Series) -> str:
    """Return the curve in one sentence."""
    points = series.points
    first, last, best = points[0], points[-1], max(points, key=lambda point: point.y)
    if len(points) == 1:
        return f"One {series.name} evaluation, {_moment(first)}: {_value(first)}."
    ending = "that is its best" if best.y == last.y else f"its best was {_value(best)} {_moment(best)}"
    start, end = f"{_value(first)} {_moment(first)}", f"{_value(last)} {_moment(last)}"
    return f"The {series.name} return went from {start} to {end}; {ending}."


def _moment(point: Point) -> str:
    return f"after {numbers.count(point.x)} steps" if point.x else "before training"


def _value(point: Point) -> str:
    return numbers.number(point.y, resolution=(point.high - point.low) or None)


def _evaluations(series: list[Series], interval: str) -> Markup:
    steps = thinned(sorted({point.x for one in series for point in one.points}), _TABLE_ROWS)
    found = [{point.x: point for point in one.points} for one in series]
    rows: list[list[Child]] = []
    for step in steps:
        row: list[Child] = [numbers.count(step)]
        for points in found:
            point = points.get(step)
            row += ["", ""] if point is None else [_value(point), numbers.interval(point.low, point.high)]
        rows.append(row)
    columns = ["Steps"]
    for one in series:
        columns += [f"{one.name.capitalize()}, mean", interval]
    return table("Mean evaluation return by environment steps", columns, rows, numeric_from=0)


def _signal(data: ReportData, name: str, rows: tuple[tuple[float, float], ...]) -> Markup:
    known = _known(data)
    title, unit = known.get(name, (name.replace("/", " ").replace("_", " "), ""))
    pattern = "/".join("{i}" if part.isdigit() else part for part in name.split("/"))
    unit = data.learner_units.get(pattern, unit)
    last = numbers.number(rows[-1][1])
    target = _target_entropy(data) if name == "actor/entropy_nats" and known else None
    chart = Chart(
        label=f"{title} over environment steps; at the end {last} {unit}".rstrip() + ".",
        unit=unit,
        steps=data.training.env_steps,
        series=[Series("value", "signal", bucketed(rows))],
        reference=target,
        may_log=name in _MAY_LOG and bool(known),
    )
    target_label = (
        None if target is None else tag("span", f"target {numbers.number(target)}", class_="target")
    )
    heading = [
        tag("span", title, class_="title"),
        tag("span", last, class_="last"),
        target_label,
        tag("code", name),
    ]
    return tag("figure", tag("figcaption", heading), figure(chart, SMALL), class_="multiple")


def _target_entropy(data: ReportData) -> float | None:
    """Return the target in nats where the temperature is learned: per dimension times dimensions."""
    rule = data.params["algorithm"].get("temperature")  # of SAC; other algorithms may have none
    per_dimension = rule.get("target_entropy_per_dimension") if isinstance(rule, dict) else None
    if not isinstance(per_dimension, int | float):
        return None
    return float(per_dimension * data.bundle.contract.spec.action_dim)
