"""The speed of the training, or one sentence where its log is missing."""

from statistics import median

from sacpipe.report.charts import FLAT, Chart, line_chart
from sacpipe.report.outputs import Outputs, read_rows
from sacpipe.report.points import Line, bucketed
from sacpipe.report.section import Section


def build(outputs: Outputs) -> Section:
    """Return the section."""
    log = outputs.work_folder / "throughput.jsonl"
    found = read_rows(log, "env_steps", "steps_per_s") if log.is_file() else []
    rows = [(row["env_steps"], row["steps_per_s"]) for row in found]
    if not rows:
        return Section("Throughput", "throughput.html", {"median": None})
    middle = median(speed for _, speed in rows)
    line = Line("speed", "signal", bucketed(rows))
    chart = Chart(
        title="Throughput",
        unit="environment steps a second",
        steps=outputs.training.env_steps,
        lines=[line],
        reference=middle,
        may_log=True,
        from_zero=True,
    )
    values = {"median": middle, "line": line, "chart": line_chart(chart, FLAT)}
    return Section("Throughput", "throughput.html", values)
