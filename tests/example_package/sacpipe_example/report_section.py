"""A section of the report: how long the episodes of each policy were, as a chart and as a table."""

from sacpipe.report.charts import strip_plot
from sacpipe.report.outputs import Outputs
from sacpipe.report.points import Point
from sacpipe.report.section import Section

TEMPLATE = """
{% from "macros.html" import table %}
<p class="lead">Steps of each evaluation episode of {{ task }}.</p>
<figure>{{ chart }}</figure>
{{ table("Mean lengths", ("Policy", "Mean length"), rows) }}
"""


def build(outputs: Outputs) -> Section:
    """Return the section."""
    lengths = {policy: [one.length for one in episodes] for policy, episodes in outputs.episodes.items()}
    means = {policy: sum(found) / len(found) for policy, found in lengths.items()}
    strips = {policy: (found, Point(0, *[means[policy]] * 3)) for policy, found in lengths.items()}
    values = {
        "task": outputs.task,
        "chart": strip_plot("steps of an episode", strips),
        "rows": [(policy, f"{mean:.1f}") for policy, mean in means.items()],
    }
    return Section("Lengths", TEMPLATE, values)
