"""The evaluation after training: three policies on the same episodes."""

from sacpipe.report.charts import Strip, strip_plot
from sacpipe.report.numbers import count, number
from sacpipe.report.outputs import POLICIES, Outputs
from sacpipe.report.points import Point
from sacpipe.report.section import Section, Table

_MAX_ROWS = 300


def build(outputs: Outputs) -> Section:
    """Return the section of returns: table, strip plot, every episode."""
    summaries = {policy: getattr(outputs.evaluated, policy) for policy in POLICIES}
    strips = []
    for policy, one in summaries.items():
        mean = Point(0.0, one.return_mean, one.return_ci_low, one.return_ci_high)
        strips.append(Strip(policy, [episode.episode_return for episode in outputs.episodes[policy]], mean))
    table, num_left_out = _every_episode(outputs)
    values = {
        "summaries": summaries,
        "confidence": outputs.confidence,
        "noise": outputs.bundle.contract.onnx.noise,
        "task_metrics": dict.fromkeys(name for one in summaries.values() for name in one.task_metrics),
        "largest_gap": _largest_gap(outputs),
        "num_seeds": len(outputs.episodes["bundle"]),
        "chart": strip_plot("return of an episode", strips),
        "table": table,
        "num_left_out": num_left_out,
    }
    return Section("Evaluation", "evaluation.html", values)


def _largest_gap(outputs: Outputs) -> float | None:
    """Return the largest difference of returns between bundle and policy; None if their seeds differ."""
    trained = {one.seed: one.episode_return for one in outputs.episodes["deterministic"]}
    bundled = {one.seed: one.episode_return for one in outputs.episodes["bundle"]}
    if not trained or trained.keys() != bundled.keys():
        return None
    return max(abs(bundled[seed] - trained[seed]) for seed in trained)


def _every_episode(outputs: Outputs) -> tuple[Table, int]:
    """Return the table of episodes, and the number of those that it leaves out."""
    rows = [
        [
            policy,
            str(index),
            str(one.seed),
            number(one.episode_return),
            count(one.length),
            "the task" if one.terminated else "time limit",
        ]
        for policy, episodes in outputs.episodes.items()
        for index, one in enumerate(episodes)
    ]
    columns = ("Policy", "Episode", "Seed", "Return", "Length", "Ended by")
    shown = rows[:_MAX_ROWS]
    return Table(f"All {count(len(rows))} episodes", columns, shown), len(rows) - len(shown)
