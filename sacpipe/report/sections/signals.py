"""The first metrics of the learner's updates, one small chart each."""

from collections.abc import Iterable, Mapping
from typing import Any

from sacpipe.algorithms import metrics_of
from sacpipe.report.charts import Chart, line_chart
from sacpipe.report.numbers import number
from sacpipe.report.outputs import Outputs
from sacpipe.report.points import MAX_POINTS, Line, bucketed
from sacpipe.report.section import Section
from sacpipe.specs.metric import Metric, pattern_of

_MAX_SIGNALS = 4
_OTHER_ROWS = ("episode/", "evaluation/")
"""Beginnings of metrics that are not of updates."""
_MAY_LOG = frozenset({"temperature/value", "critic/loss"})
"""Positive metrics whose axis may be logarithmic."""


def build(outputs: Outputs) -> Section:
    """Return the section with one small chart for each of the first signals."""
    known = metrics_of(outputs.params["algorithm"]["name"])
    names = shown_signals(outputs.signals, [name for name, metric in known.items() if metric.title])
    values = {
        "signals": [_signal(outputs, name, known) for name in names],
        "is_averaged": any(len(outputs.signals[name]) > MAX_POINTS for name in names),
    }
    return Section("Signals of the learner", "signals.html", values)


def shown_signals(names: Iterable[str], first: Iterable[str]) -> list[str]:
    """Return the metrics of updates that have a chart, by the names of all metrics and of the first ones."""
    learners = {name for name in names if not name.startswith(_OTHER_ROWS)}
    known = [name for name in first if name in learners]
    return (known + sorted(learners - {*known}))[:_MAX_SIGNALS]


def _signal(outputs: Outputs, name: str, known: Mapping[str, Metric]) -> dict[str, Any]:
    """Return the values of one chart."""
    rows = outputs.signals[name]
    pattern = pattern_of(name)
    ours, logged = known.get(pattern), outputs.learner_metrics.get(pattern)
    title = ours.title if ours and ours.title else name.replace("/", " ").replace("_", " ")
    target = _target_entropy(outputs) if name == "actor/entropy_nats" and ours else None
    line = Line(title, "signal", bucketed(rows))
    chart = Chart(
        title=title,
        unit=next((one.unit for one in (logged, ours) if one is not None), ""),
        steps=outputs.training.env_steps,
        lines=[line],
        reference=target,
        may_log=name in _MAY_LOG and ours is not None,
    )
    values = {"name": name, "title": title, "last": number(rows[-1][1]), "target": target}
    return values | {"line": line, "chart": line_chart(chart)}


def _target_entropy(outputs: Outputs) -> float | None:
    """Return the target in nats where the temperature is learned: per dimension times dimensions."""
    rule = outputs.params["algorithm"].get("temperature")  # of SAC; other algorithms may have none
    per_dimension = rule.get("target_entropy_per_dimension") if isinstance(rule, dict) else None
    if not isinstance(per_dimension, int | float):
        return None
    return float(per_dimension * outputs.bundle.contract.spec.action_dim)
