"""The learning curve: the mean return of the evaluations during training, and every training episode."""

from sacpipe.report.charts import LARGE, Chart, line_chart
from sacpipe.report.numbers import number
from sacpipe.report.outputs import Outputs
from sacpipe.report.points import Line, evaluation_points, thinned
from sacpipe.report.section import Section, values_table


def build(outputs: Outputs) -> Section:
    """Return the section."""
    confidence = outputs.confidence
    lines = []
    for policy in ("deterministic", "stochastic"):
        returns = [(row.env_steps, row.episode_return) for row in outputs.curve if row.policy == policy]
        if returns:
            lines.append(Line(policy, policy, evaluation_points(returns, confidence)))
    episodes = outputs.signals.get("episode/return", [])
    chart = Chart(
        title="Mean evaluation return",
        unit="return of an episode",
        steps=outputs.training.env_steps,
        lines=lines,
        dots=thinned(episodes),
    )
    interval_name = f"{number(100 * confidence)}% interval"
    values = {
        "first": lines[0],
        "best": max(lines[0].points, key=lambda point: point.y),
        "kept": outputs.training.kept,
        "lines": lines,
        "has_band": any(point.low < point.high for line in lines for point in line.points),
        "interval_name": interval_name,
        "num_dots": len(chart.dots),
        "num_episodes": len(episodes),
        "chart": line_chart(chart, LARGE),
        "table": values_table("The evaluations as a table", lines, interval_name),
    }
    return Section("Learning curve", "learning.html", values)
