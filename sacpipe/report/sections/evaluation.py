"""The evaluation after training: three policies on the same episodes."""

from sacpipe.report.charts import strip_plot
from sacpipe.report.outputs import POLICIES, Outputs
from sacpipe.report.points import Point
from sacpipe.report.section import Section


def build(outputs: Outputs) -> Section:
    """Return the section of returns: table, strip plot, every episode."""
    summaries = {policy: getattr(outputs.evaluated, policy) for policy in POLICIES}
    strips = {}
    for policy, one in summaries.items():
        mean = Point(0.0, one.return_mean, one.return_ci_low, one.return_ci_high)
        strips[policy] = [episode.episode_return for episode in outputs.episodes[policy]], mean
    values = {
        "summaries": summaries,
        "confidence": outputs.evaluation.confidence,
        "noise": outputs.bundle.contract.onnx.noise,
        "task_metrics": dict.fromkeys(name for one in summaries.values() for name in one.task_metrics),
        "largest_gap": _largest_gap(outputs),
        "num_seeds": len(outputs.episodes["bundle"]),
        "chart": strip_plot("return of an episode", strips),
        "episodes": outputs.episodes,
    }
    return Section("Evaluation", "evaluation.html", values)


def _largest_gap(outputs: Outputs) -> float | None:
    """Return the largest difference of returns between bundle and policy; None if their seeds differ."""
    trained = {one.seed: one.episode_return for one in outputs.episodes["deterministic"]}
    bundled = {one.seed: one.episode_return for one in outputs.episodes["bundle"]}
    if not trained or trained.keys() != bundled.keys():
        return None
    return max(abs(bundled[seed] - trained[seed]) for seed in trained)
