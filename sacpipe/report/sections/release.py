"""The plots of the release gate's verdict: returns by seed, differences from the champion, robustness."""

from sacpipe.report.outputs import Outputs
from sacpipe.report.section import Section
from sacpipe.report.verdict_charts import verdict_plots


def build(outputs: Outputs) -> Section | None:
    """Return the section of the verdict; None where the gate did not run, or has nothing to draw."""
    verdict = outputs.verdict
    plots = [] if verdict is None else verdict_plots(verdict)
    if verdict is None or not plots:
        return None
    return Section("Release gate", "release.html", {"verdict": verdict, "plots": plots})
