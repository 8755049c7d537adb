"""The steps of a run as plain functions. The flow calls them through an engine; none knows Prefect."""

import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from sacpipe.core.errors import ConfigError, StorageError, StoreError, StoreUnavailableError
from sacpipe.core.files import read_json, write_bytes
from sacpipe.evaluation.statistics import EvaluateMetrics
from sacpipe.export.config import ExportMetrics
from sacpipe.params.model import Params
from sacpipe.project.dvc.commands import DvcStore, Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import locked_inputs, stage_key
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace
from sacpipe.release.gate import Candidate, Verdict, evaluate_release
from sacpipe.release.promote_alias import RegistryStatus, promote_version
from sacpipe.replay.pool.initial_pool import open_initial_pool
from sacpipe.report.data import ReportInputs
from sacpipe.report.page import write_report
from sacpipe.tracking.ledger import check_inputs_kept, open_ledger, record_stage
from sacpipe.tracking.live_metrics import LiveMetrics


def preflight(workspace: Workspace) -> Params:
    """Refuse bad params, an unknown task or a read-only folder before the first stage starts.

    Raises:
        ConfigError: params.yaml is wrong, or training needs an initial pool that is missing;
            UnknownTaskError where the task is not known.
        PoolError: the initial pool is damaged.
        StorageError: the folder cannot be written.
    """
    params = Params.load(workspace.params)
    environment = params.task.make()
    environment.close()
    initial = params.replay.initial_pool
    if initial is not None and _is_to_train(workspace):
        open_initial_pool(workspace.initial_pool, initial, environment.spec)
    for folder in (workspace.state, workspace.root / "out", workspace.root / "work"):
        write_bytes(folder / ".writable", b"")
        (folder / ".writable").unlink()
    if not (workspace.root / ".dvc" / "config").is_file():
        raise ConfigError(
            f"{workspace.root} has no .dvc folder. Use a clone of the project, or run `dvc init`."
        )
    return params


def check_stores(workspace: Workspace) -> None:
    """Open what the end of a run needs, before hours of training: the ledger, and DVC's remote.

    A server that does not answer now may answer then, and a push can be repeated: one line reports each.

    Raises:
        StoreError: the ledger cannot record: damaged, of another MLflow version, or writing is forbidden.
        StorageError: a folder of the ledger cannot be written.
    """
    try:
        open_ledger(workspace).check()
    except StoreUnavailableError as exc:
        write_line(f"ledger: {exc} The run goes on.")
    if _is_to_train(workspace):
        try:
            DvcStore(workspace.root).describe()
        except StoreError as exc:
            write_line(f"dvc: {exc}")


def _is_to_train(workspace: Workspace) -> bool:
    """Return whether the train stage has to run: its inputs differ from those in dvc.lock."""
    entry = read_lock(workspace.dvc_lock).get("train")
    return entry is None or locked_inputs(entry).key != stage_key(workspace, "train")


def reproduce(workspace: Workspace, stage: str, on_output: Callable[[str], None]) -> Outcome:
    """Bring one stage up to date, and copy the metrics of a training to the ledger meanwhile.

    Raises:
        StageError: the stage failed; a retry continues from its last checkpoint.
        InterruptedRunError: Ctrl-C or SIGTERM.
    """
    store, key = DvcStore(workspace.root), stage_key(workspace, stage)
    mirror = LiveMetrics(workspace, open_ledger(workspace), stage) if stage == "train" else nullcontext()
    with mirror:
        outcome = store.reproduce(stage, on_output=on_output)
    if outcome is Outcome.RAN:
        check_inputs_kept(workspace, stage, key)
    return outcome


def record(workspace: Workspace, stage: str, outcome: Outcome) -> str:
    """Record a stage in the ledger, and return the id of its run.

    Raises:
        StoreUnavailableError: MLflow does not answer; `sacpipe ledger rebuild` records it later.
    """
    return record_stage(workspace, open_ledger(workspace), stage, outcome=outcome)


def release_gate(workspace: Workspace, params: Params) -> Verdict:
    """Evaluate the release of the bundle from the metrics of the stages."""
    evaluated = EvaluateMetrics.parse(
        _output(workspace.evaluate_metrics), source=str(workspace.evaluate_metrics)
    )
    exported = ExportMetrics.parse(_output(workspace.export_metrics), source=str(workspace.export_metrics))
    candidate = Candidate(
        bundle_return_mean=evaluated.bundle.return_mean,
        bundle_episodes=evaluated.bundle.episodes,
        parity_max_error=exported.parity_max_error,  # the exporter has checked the synthetic ones
        parity_tolerance=exported.parity_tolerance,
    )
    return evaluate_release(candidate, params.release)


def promote(workspace: Workspace, params: Params, verdict: Verdict) -> RegistryStatus:
    """Register the bundle; make it champion if the release gate accepted it."""
    return promote_version(workspace, open_ledger(workspace), params.release.model_name, verdict)


def write_page(workspace: Workspace, path: Path | None = None) -> Path:
    """Write the report of the present outputs, and return its path."""
    params = Params.load(workspace.params)
    trained = read_lock(workspace.dvc_lock).get("train")
    has_numbers = workspace.evaluate_metrics.is_file() and workspace.export_metrics.is_file()
    inputs = ReportInputs(
        params=workspace.params,
        dvc_lock=workspace.dvc_lock,
        train_folder=workspace.train,
        export_folder=workspace.export,
        evaluate_folder=workspace.evaluate,
        throughput=None
        if trained is None
        else workspace.work(locked_inputs(trained).key) / "throughput.jsonl",
        verdict=release_gate(workspace, params).as_tree() if has_numbers else None,
        model_name=params.release.model_name,
    )
    return write_report(inputs, path or workspace.report)


def push(workspace: Workspace) -> str:
    """Send the outputs to the DVC remote, and return DVC's summary."""
    return DvcStore(workspace.root).push()


def _output(path: Path) -> object:
    if not path.is_file():
        raise StorageError(
            f"{os.path.relpath(path)} is missing. `dvc checkout` or `dvc pull` restores it; `sacpipe run` "
            "makes it."
        )
    return read_json(path, StorageError)
