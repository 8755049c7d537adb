"""The learning curve: the mean return of the evaluations during training, and every training episode."""

from sacpipe.core.errors import StorageError
from sacpipe.report.charts import LARGE, Chart, line_chart
from sacpipe.report.numbers import number
from sacpipe.report.outputs import Outputs, read_rows
from sacpipe.report.points import Line, evaluation_points, thinned
from sacpipe.report.section import Section, values_table


def build(outputs: Outputs) -> Section:
    """Return the section."""
    lines = []
    rows = read_rows(outputs.workspace.curve, "policy", "env_steps", "return")
    for policy in ("deterministic", "stochastic"):
        returns = [(row["env_steps"], row["return"]) for row in rows if row["policy"] == policy]
        if returns:
            lines.append(Line(policy, policy, evaluation_points(returns, outputs.evaluation)))
    if not lines:
        raise StorageError(
            f"{outputs.workspace.curve}: expected at least one evaluation episode, found none."
        )
    episodes = outputs.signals.get("episode/return", [])
    chart = Chart(
        title="Mean evaluation return",
        unit="return of an episode",
        steps=outputs.training.env_steps,
        lines=lines,
        dots=thinned(episodes),
    )
    interval_name = f"{number(100 * outputs.evaluation.confidence)}% interval"
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
