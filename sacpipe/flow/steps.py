"""The steps of a run as plain functions. The flow calls them through an engine; none knows Prefect."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import ConfigError, StoreError, StoreUnavailableError
from sacpipe.core.files import check_writable
from sacpipe.params.checks import check_params
from sacpipe.params.model import Params
from sacpipe.project.dvc.commands import DvcStore, Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.identity.lock import lock_project
from sacpipe.project.moving_outputs import moving_outputs
from sacpipe.project.processor_kind import another_processor, other_kinds, recorded_kinds
from sacpipe.project.stage_key import locked_inputs, locked_outs, stage_key
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.gate import kept_verdict
from sacpipe.replay.pool.initial_pool import open_initial_pool
from sacpipe.report.page import write_report
from sacpipe.report.section import own_sections
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.tracking.chosen import chosen_tracker, open_ledger
from sacpipe.tracking.ledger import check_inputs_kept, record_stage, restore_kind
from sacpipe.tracking.live_metrics import LiveMetrics
from sacpipe.training.memory import check_memory
from sacpipe.training.warm_start import find_weights, needed_weights, read_weights, require_same_task


def preflight(workspace: Workspace) -> Params:
    """Refuse bad params, an unknown task or a read-only folder before the first stage starts.

    Raises:
        ConfigError: params.yaml is wrong, a later stage or this machine's memory would refuse it, the task
            has no time limit, training needs an initial pool that is missing, or the chosen tracker is not
            known or sacpipe.yaml is wrong; UnknownTaskError where the task is not known.
        PoolError: the initial pool is damaged.
        StorageError: the folder cannot be written.
    """
    chosen_tracker(workspace)
    own_sections(workspace.settings)
    params = Params.load(workspace.params)
    environment = params.task.make()
    environment.close()
    check_params(params, environment.spec)
    if _is_changed(workspace, "train"):
        _check_training(workspace, params, environment.spec)
    for folder in (workspace.state, workspace.root / "out", workspace.results, workspace.root / "work"):
        check_writable(folder)
    if not (workspace.root / ".dvc" / "config").is_file():
        raise ConfigError(
            f"{workspace.root} has no .dvc folder. Use a clone of the project, or run `dvc init`."
        )
    return params


def name_dependencies(workspace: Workspace) -> None:
    """Write to dvc.yaml what the task needs, before anything reads the stages' inputs.

    All modules of the project that are loaded count for the task. So `preflight` loads the rules of the
    release gate later: no stage depends on them.

    Raises:
        ConfigError: params.yaml is wrong, or the task cannot be made; UnknownTaskError where it is not known.
        StorageError: dvc.yaml cannot be written.
    """
    for line in lock_project(workspace, keeps_versions=True):
        write_line(line)


def _check_training(workspace: Workspace, params: Params, spec: EnvSpec) -> None:
    """Open initial pool and weights, and compare the memory of the transitions with this machine's."""
    warm_start = params.training.warm_start
    if warm_start is not None:
        require_same_task(read_weights(workspace.warm_start, warm_start), spec)
    for key, sha256 in needed_weights(params.algorithm).items():
        require_same_task(find_weights(workspace.warm_start, sha256, key), spec, key)
    initial, earlier = params.replay.initial_pool, 0
    if initial is not None:
        earlier = open_initial_pool(workspace.initial_pool, initial, spec).transitions
    check_memory(params, spec, earlier_transitions=earlier)


def check_stores(workspace: Workspace) -> None:
    """Open what the end of a run needs, before hours of training: the ledger, and DVC's remote.

    A server that does not answer now may answer then, and a push can be repeated: one line reports each.

    Raises:
        StoreError: the ledger cannot record: damaged, of another version, or writing is forbidden.
        StorageError: a folder of the ledger cannot be written.
    """
    try:
        open_ledger(workspace).check()
    except StoreUnavailableError as exc:
        write_line(f"ledger: {exc} The run goes on.")
    if _is_changed(workspace, "train"):
        try:
            DvcStore(workspace.root).describe()
        except StoreError as exc:
            write_line(f"dvc: {exc}")


def processor_notice(workspace: Workspace) -> str | None:
    """Return which outputs may change although neither code nor params did, and why; None where none may.

    They may where a stage has to run, and results/kind.yaml names another kind of processor than this one.

    Raises:
        ConfigError: results/kind.yaml is malformed, or a stage's input is missing.
    """
    entries = read_lock(workspace.dvc_lock)
    other = other_kinds(recorded_kinds(workspace.kinds, entries), STAGES)
    moving = moving_outputs(entries, other)
    if not moving or not has_stage_to_run(workspace):
        return None
    names = ", ".join(path for paths in moving.values() for path in paths)
    return (
        f"{names}, and no other entries of dvc.lock, may change although neither code nor params did: "
        f"{another_processor(other)}. Another kind of processor rounds otherwise. `sacpipe verify` compares "
        "the returns by an interval."
    )


def has_stage_to_run(workspace: Workspace) -> bool:
    """Return whether DVC runs or restores a stage: inputs changed, or an output is missing.

    An output that is there and was changed by hand is not seen here: DVC sees it, and runs or restores its
    stage.

    Raises:
        ConfigError: a stage's input is missing, or dvc.yaml is wrong.
    """
    entries = read_lock(workspace.dvc_lock)
    return any(
        not all((workspace.root / path).exists() for path in locked_outs(entries.get(stage) or {}))
        or _is_changed(workspace, stage)
        for stage in STAGES
    )


def _is_changed(workspace: Workspace, stage: str) -> bool:
    """Return whether a stage's inputs differ from those in dvc.lock."""
    entry = read_lock(workspace.dvc_lock).get(stage)
    return entry is None or locked_inputs(entry).key != stage_key(workspace, stage)


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
        StoreUnavailableError: the tracker does not answer; `sacpipe ledger rebuild` records it later.
    """
    ledger = open_ledger(workspace)
    run_id = record_stage(workspace, ledger, stage, outcome=outcome)
    restore_kind(workspace, ledger, stage)
    return run_id


def write_page(workspace: Workspace, path: Path | None = None) -> Path:
    """Write the report of the present outputs with the last verdict on their bundle, and return its path."""
    digest = bundle_digest(workspace.bundle, follow_cache_links=True) if workspace.bundle.is_dir() else ""
    return write_report(workspace, kept_verdict(workspace, digest), path)


def push(workspace: Workspace) -> str:
    """Send the outputs to the DVC remote, and return DVC's summary."""
    return DvcStore(workspace.root).push()
