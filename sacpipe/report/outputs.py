"""Read DVC's outputs into the records of data.py. docs/report.md lists every file and key."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sacpipe.bundle.reader import Bundle, open_bundle
from sacpipe.core.errors import ConfigError, ContractError, StorageError
from sacpipe.core.files import canonical_json, read_json, sha256_bytes, sha256_file
from sacpipe.evaluation.episodes import Episode
from sacpipe.evaluation.episodes_csv import read_episodes_csv
from sacpipe.evaluation.statistics import EvaluationSummary
from sacpipe.evaluation.video import NO_VIDEO_NAME, VIDEO_NAME
from sacpipe.export.config import ExportMetrics
from sacpipe.replay.pool.manifest import MANIFEST_NAME, read_manifest
from sacpipe.report.data import (
    POLICIES,
    CurveRow,
    Evaluation,
    Plane,
    Pool,
    ReportData,
    ReportInputs,
    Training,
)
from sacpipe.report.dvc_lock import differing_files, read_params, read_stages, read_verdict
from sacpipe.report.readers import csv_rows, finite, json_lines, pick, require_files
from sacpipe.training.metrics import LEARNER_METRICS

_TOTALS = ("env_steps", "gradient_steps", "episodes")
_COUNTERS = ("env_steps", "gradient_steps")
_MULTI_GOAL = ("softlearning", "MultiGoal-Default-v0")
"""Suite and id of the task that has a figure of its own."""
_CURVE_COLUMNS = ("env_steps", "policy", "episode", "seed", "return", "length")


def read_report(inputs: ReportInputs) -> ReportData:
    """Read every file of the report once.

    Raises:
        StorageError: an output is missing or malformed; the message names it and a command to restore it.
        ConfigError: params.yaml or the verdict is wrong.
        PoolError: the pool's manifest is wrong.
        BundleError: the bundle differs from its manifest.
    """
    train, bundle_folder, evaluate = (
        inputs.train_folder,
        inputs.export_folder / "bundle",
        inputs.evaluate_folder,
    )
    _require_outputs(inputs)
    params = read_params(inputs.params)
    stages = read_stages(inputs.dvc_lock)
    training, pool, bundle = (
        read_training(train, inputs.curve),
        read_pool(train / "pool"),
        open_bundle(bundle_folder, follow_cache_links=True),
    )
    return ReportData(
        model_name=inputs.model_name,
        params=params,
        params_digest=sha256_bytes(canonical_json(params).encode()),
        stages=stages,
        training=training,
        pool=pool,
        evaluation=read_evaluation(evaluate, inputs.episodes),
        bundle=bundle,
        parity=read_parity(inputs.export_folder / "metrics.json"),
        bundle_files={path.name: sha256_file(path) for path in sorted(bundle_folder.iterdir())},
        learner_units=read_learner_units(inputs.throughput),
        throughput=read_throughput(inputs.throughput),
        plane=_read_plane(inputs, params),
        verdict=read_verdict(inputs.verdict),
        warnings=differing_files(stages, params, inputs) + _other_sources(training, pool, bundle),
    )


def read_training(folder: Path, curve_csv: Path) -> Training:
    """Read out/train and the learning curve.

    Raises:
        StorageError: a file is malformed, or has no evaluation.
    """
    path = folder / "metrics.json"
    totals = read_json(path, StorageError)
    counts = {key: round(finite(pick(totals, key, str(path)), f"{path}: {key}")) for key in _TOTALS}
    curve = tuple(
        CurveRow(round(finite(row["env_steps"], where)), row["policy"], finite(row["return"], where))
        for where, row in csv_rows(curve_csv, _CURVE_COLUMNS)
    )
    if not curve:
        raise StorageError(f"{curve_csv}: expected at least one evaluation episode, found none.")
    return Training(
        **counts,
        curve=curve,
        signals=_read_signals(folder / "metrics.jsonl"),
        policy_sha256=sha256_file(folder / "policy.safetensors"),
        kept=None if "kept" not in totals else _read_kept(totals["kept"], str(path)),
    )


def _read_kept(kept: Any, where: str) -> tuple[int, float]:
    steps, mean = (finite(pick(kept, key, where), f"{where}: {key}") for key in ("env_steps", "return_mean"))
    return round(steps), mean


def read_pool(folder: Path) -> Pool:
    """Read a pool's manifest. No segment is read.

    Raises:
        PoolError: the manifest is of another version, or its parts disagree.
    """
    manifest = read_manifest(folder)
    return Pool(
        transitions=manifest.transitions,
        segments=len(manifest.segments),
        num_bytes=sum(segment.size_bytes for segment in manifest.segments),
        form=manifest.format,
        manifest_sha256=sha256_file(folder / MANIFEST_NAME),
    )


def read_evaluation(folder: Path, episodes_csv: Path) -> Evaluation:
    """Read out/evaluate and the episodes.

    Raises:
        StorageError: a file is malformed, or one of the three policies was not evaluated.
    """
    path, video, reason = (
        folder / "metrics.json",
        folder / "video" / VIDEO_NAME,
        folder / "video" / NO_VIDEO_NAME,
    )
    tree = read_json(path, StorageError)
    return Evaluation(
        returns={policy: _read_summary(pick(tree, policy, str(path)), policy, path) for policy in POLICIES},
        episodes=_read_episodes(episodes_csv),
        video=video.read_bytes() if video.is_file() else None,
        why_no_video=reason.read_text(encoding="utf-8").strip() if reason.is_file() else "",
    )


def read_parity(path: Path) -> ExportMetrics:
    """Read the metrics of the export stage.

    Raises:
        StorageError: the file is malformed.
    """
    try:
        return ExportMetrics.parse(read_json(path, StorageError), source=str(path))
    except ConfigError as exc:
        raise StorageError(f"{exc}. `sacpipe run` writes it again.") from exc


def _read_plane(inputs: ReportInputs, params: Mapping[str, Any]) -> Plane | None:
    """Return the contents of MultiGoal's figure; None for another task."""
    if (params["task"]["suite"], params["task"]["id"]) != _MULTI_GOAL:
        return None
    from sacpipe.report.plane_data import read_plane  # needs PyTorch, which other tasks do not

    work_folder = None if inputs.throughput is None else inputs.throughput.parent
    return read_plane(inputs.params, inputs.train_folder / "policy.safetensors", work_folder)


def read_throughput(path: Path | None) -> tuple[tuple[float, float], ...] | None:
    """Read rows of (env_steps, steps_per_s), or None where the file is missing.

    Raises:
        StorageError: the file is malformed.
    """
    if path is None or not path.is_file():
        return None
    rows = tuple(
        (finite(pick(row, "env_steps", where), where), finite(pick(row, "steps_per_s", where), where))
        for where, row in json_lines(path)
    )
    return rows or None


def read_learner_units(throughput: Path | None) -> dict[str, str]:
    """Read the units of the learner's metrics from the work folder that has the log of the speed.

    Raises:
        StorageError: the file is malformed.
    """
    path = None if throughput is None else throughput.with_name(LEARNER_METRICS)
    if path is None or not path.is_file():
        return {}
    tree = read_json(path, StorageError)
    return {name: str(pick(tree[name], "unit", f"{path}: {name}")) for name in tree}


def _read_signals(path: Path) -> dict[str, tuple[tuple[float, float], ...]]:
    """Read all metrics: an algorithm has names of its own."""
    signals: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for where, row in json_lines(path):
        steps = finite(pick(row, "env_steps", where), f"{where}: env_steps")
        for name, value in row.items():
            if name not in _COUNTERS:
                signals[name].append((steps, finite(value, f"{where}: {name}")))
    return {name: tuple(rows) for name, rows in signals.items()}


def _read_summary(tree: Any, policy: str, path: Path) -> EvaluationSummary:
    try:
        summary = EvaluationSummary.parse(tree, where=policy, source=str(path))
    except ConfigError as exc:
        raise StorageError(f"{exc}. `sacpipe run` writes it again.") from exc
    for name, value in summary.as_tree().items():
        if name != "task_metrics":
            finite(value, f"{path}: {policy}.{name}")
    for name, metric in summary.task_metrics.items():
        for key, value in metric.as_tree().items():
            finite(value, f"{path}: {policy}.task_metrics.{name}.{key}")
    return summary


def _read_episodes(path: Path) -> dict[str, tuple[Episode, ...]]:
    try:
        episodes = read_episodes_csv(path)
    except ContractError as exc:
        raise StorageError(str(exc)) from exc
    for policy in POLICIES:
        for one in pick(episodes, policy, str(path)):
            finite(one.episode_return, f"{path}: {policy}, seed {one.seed}")
    return episodes


def _other_sources(training: Training, pool: Pool, bundle: Bundle) -> tuple[str, ...]:
    """Return a sentence for each source of the bundle that differs from the one under out/train."""
    present = {"policy": training.policy_sha256, "pool": pool.manifest_sha256}
    sources = bundle.contract.provenance.digests
    return tuple(
        f"The bundle was exported from the {name} {sources[name][:10]}; out/train has {found[:10]}. "
        "`sacpipe run` exports the present one."
        for name, found in present.items()
        if sources.get(name, found) != found
    )


def _require_outputs(inputs: ReportInputs) -> None:
    train, bundle, evaluate = inputs.train_folder, inputs.export_folder / "bundle", inputs.evaluate_folder
    names = ("policy.safetensors", "metrics.json", "metrics.jsonl", "pool/manifest.json")
    require_files(
        [
            inputs.params,
            inputs.dvc_lock,
            *(train / name for name in names),
            *(bundle / name for name in ("manifest.json", "contract.json", "golden.npz", "policy.onnx")),
            inputs.export_folder / "metrics.json",
            evaluate / "metrics.json",
            inputs.curve,
            inputs.episodes,
        ]
    )
