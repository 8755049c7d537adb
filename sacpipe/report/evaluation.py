"""The evaluation after training: three policies on the same episodes, and the video of one."""

import base64
from collections.abc import Mapping

from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.statistics import EvaluationSummary
from sacpipe.report import numbers, strip_plot
from sacpipe.report.data import POLICIES, ReportData
from sacpipe.report.elements import fold, section, table
from sacpipe.report.markup import Child, Markup, tag

_TABLE_EPISODES = 300


def evaluation(data: ReportData) -> Markup:
    """Return the section of returns: table, strip plot, every episode."""
    returns = data.evaluation.returns
    rows = [_row(policy, returns[policy]) for policy in POLICIES]
    noise = data.bundle.contract.onnx.noise
    deterministic = "the mean action" if noise is None else "the action for noise of zeros"
    draws = "" if noise is None else ", which draws its noise"
    lead = (
        f"Deterministic takes {deterministic}, stochastic samples it; bundle is the exported ONNX file, run "
        f"by the robot's own runtime{draws}. The release gate checks the bundle."
    )
    interval = numbers.interval_name(data.confidence)
    columns = ("Policy", "Mean", interval, "Median", "IQM", "Std", "Min", "Max", "Length", "Episodes")
    return section(
        "evaluation",
        "Evaluation",
        lead,
        table("Returns after training", columns, rows),
        _task_metrics(returns),
        _pairs(data.evaluation.episodes) if noise is None else None,
        tag("figure", strip_plot.figure(_label(data), "return of an episode", _strips(data))),
        fold(f"All {numbers.count(data.num_episodes)} episodes", _episodes(data)),
    )


def video(data: ReportData) -> Markup:
    """Return the section of the video, or of the reason why there is none."""
    recorded = data.evaluation.video
    if recorded is None:
        return section("video", "Video", data.evaluation.why_no_video or "No video was recorded.")
    source = f"data:video/mp4;base64,{base64.b64encode(recorded).decode()}"
    player = tag(
        "video",
        src=source,
        controls=True,
        loop=True,
        muted=True,
        playsinline=True,
        preload="metadata",
        aria_label=f"One evaluation episode of {data.task}",
    )
    return section(
        "video",
        "Video",
        "The deterministic policy on the first evaluation episode, in real time.",
        tag("figure", player, class_="video-frame"),
    )


def _row(policy: str, returns: EvaluationSummary) -> list[Child]:
    width = returns.return_ci_high - returns.return_ci_low

    def shown(value: float) -> str:
        return numbers.number(value, resolution=width or None)

    return [
        tag("span", policy, class_=f"policy {policy}"),
        tag("b", shown(returns.return_mean)),
        numbers.interval(returns.return_ci_low, returns.return_ci_high),
        shown(returns.return_median),
        shown(returns.return_iqm),
        shown(returns.return_std),
        shown(returns.return_min),
        shown(returns.return_max),
        numbers.number(returns.length_mean),
        numbers.count(returns.episodes),
    ]


def _task_metrics(returns: Mapping[str, EvaluationSummary]) -> list[Child]:
    """Return the table of `task.metrics`; nothing for a task without any."""
    names = list(dict.fromkeys(name for policy in POLICIES for name in returns[policy].task_metrics))
    if not names:
        return []
    rows: list[list[Child]] = []
    for name in names:
        row: list[Child] = [name]
        for policy in POLICIES:
            metric = returns[policy].task_metrics.get(name)
            row += ["", ""] if metric is None else [numbers.number(metric.mean), numbers.number(metric.last)]
        rows.append(row)
    columns = [
        "Metric of the task",
        *(f"{policy}, {kind}" for policy in POLICIES for kind in ("mean", "last")),
    ]
    note = "Means over the episodes: of all steps of an episode, and of its last step."
    return [table("Metrics of the task", columns, rows), tag("p", note, class_="note")]


def _pairs(episodes: Mapping[str, tuple[Episode, ...]]) -> Markup | None:
    """Return the largest difference of returns between bundle and policy, if both ran the same seeds."""
    trained = {one.seed: one.episode_return for one in episodes["deterministic"]}
    bundled = {one.seed: one.episode_return for one in episodes["bundle"]}
    if not trained or trained.keys() != bundled.keys():
        return None
    gap = max(abs(bundled[seed] - trained[seed]) for seed in trained)
    seeds = f"the same {len(trained)} seeds" if len(trained) > 1 else "the same seed"
    same = "exactly the same return" if gap == 0 else f"returns that differ by at most {numbers.number(gap)}"
    return tag("p", f"On {seeds}, the bundle and the deterministic policy reach {same}.", class_="note")


def _strips(data: ReportData) -> list[strip_plot.Strip]:
    found = []
    for policy in POLICIES:
        summary = data.evaluation.returns[policy]
        values = [
            (
                one.episode_return,
                f"{policy}, episode {index}, seed {one.seed}: {numbers.number(one.episode_return)}",
            )
            for index, one in enumerate(data.evaluation.episodes[policy])
        ]
        low, high = summary.return_ci_low, summary.return_ci_high
        found.append(strip_plot.Strip(policy, policy, values, summary.return_mean, low, high))
    return found


def _label(data: ReportData) -> str:
    means = ", ".join(
        f"{policy} {numbers.number(data.evaluation.returns[policy].return_mean)}" for policy in POLICIES
    )
    return f"Return of every evaluation episode by policy. Means: {means}."


def _episodes(data: ReportData) -> list[Child]:
    all_episodes = [
        (policy, index, one)
        for policy, ones in data.evaluation.episodes.items()
        for index, one in enumerate(ones)
    ]
    rows: list[list[Child]] = [
        [policy, index, one.seed, numbers.number(one.episode_return), numbers.count(one.length), _ending(one)]
        for policy, index, one in all_episodes[:_TABLE_EPISODES]
    ]
    columns = ("Policy", "Episode", "Seed", "Return", "Length", "Ended by")
    rest = len(all_episodes) - len(rows)
    more = (
        tag("p", f"{numbers.count(rest)} more are in results/episodes.csv.", class_="note") if rest else None
    )
    return [table("Every evaluation episode", columns, rows), more]


def _ending(one: Episode) -> str:
    return "the task" if one.terminated else "time limit"
