"""The learning curve: the mean return of the evaluations during training, and every training episode."""

from sacpipe.core.errors import StorageError
from sacpipe.report.charts import LARGE, Chart, line_chart
from sacpipe.report.outputs import Outputs, read_rows
from sacpipe.report.points import Line, evaluation_points, thinned
from sacpipe.report.section import Section


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
    values = {
        "kept": outputs.training.kept,
        "lines": lines,
        "confidence": outputs.evaluation.confidence,
        "num_dots": len(chart.dots),
        "num_episodes": len(episodes),
        "chart": line_chart(chart, LARGE),
    }
    return Section("Learning curve", "learning.html", values)
