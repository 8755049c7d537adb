"""Records in the ledger, written from DVC's outputs.

Each stage key has one run: parameters and digests from dvc.lock, metrics and the bundle from out/.
A stage that DVC restored is recorded like one that ran. No stage reads the ledger. docs/ledger.md lists the
tags.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import StageError, StoreError
from sacpipe.core.files import read_json, sha256_file
from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.initial_pool import INITIAL_POOL, named_pool
from sacpipe.project.processor_kind import record_kind, recorded_kinds
from sacpipe.project.stage_key import DiskTree, StageInputs, dvc_md5, locked_inputs, locked_outs
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.ledger_values import (
    IS_COMMITTED_TAG,
    OUTCOME_TAG,
    PARAMS_DIGEST_TAG,
    commit_tags,
    flat_params,
    identity_tags,
    machine_tags,
    numbers_in,
    processor_tags,
    read_rows,
    recorded_processor,
)
from sacpipe.tracking.registry import POLICY_TAG, VersionRecord
from sacpipe.tracking.tracker import COMMIT_TAG, STAGE_KEY_TAG, Tracker

UPSTREAM_TAG = "sacpipe.train_key"

_READ = {
    "train": ("out/train/metrics.json", "out/train/metrics.jsonl"),
    "export": ("out/export/bundle", "out/export/metrics.json"),
    "evaluate": ("out/evaluate/metrics.json",),
}
"""Outputs that the ledger reads. The others are recorded by digest alone and may be missing."""


@dataclass(frozen=True)
class Origin:
    """The project and commit of a recorded stage, where they differ from the workspace's."""

    root: Path
    """The project's folder, which has the commit."""
    commit: str | None
    """The commit recorded for the code; None for the checked-out one."""


def known_bundles(workspace: Workspace, model_name: str) -> set[str]:
    """Return the digests of the workspace's bundle and of every registered version of a model.

    Raises:
        StoreError: the registry failed.
    """
    known = {bundle_digest(workspace.bundle, follow_cache_links=True)} if workspace.bundle.is_dir() else set()
    return known | {version.bundle_digest for version in open_ledger(workspace).registry.versions(model_name)}


def record_stage(
    workspace: Workspace,
    ledger: Tracker,
    stage: str,
    outcome: Outcome | None = None,
    origin: Origin | None = None,
) -> str:
    """Write or complete the run of a stage from dvc.lock and out/; return the run's id.

    Args:
        workspace: The project of the stage.
        ledger: The ledger to write to.
        stage: Name of the stage.
        outcome: What DVC just did. Package versions are recorded only where the stage ran in this process's
            environment.
        origin: The project and commit of the code, if they differ from the workspace's.

    Raises:
        StoreError: the stage never ran, an output is missing or differs from dvc.lock, or the tracker failed;
            StoreUnavailableError where it does not answer.
    """
    entries = read_lock(workspace.dvc_lock)
    if stage not in entries:
        raise StoreError(f"{workspace.dvc_lock}: stage '{stage}' never ran. `dvc repro {stage}` runs it.")
    entry = entries[stage]
    check_outs(workspace, stage, entry)
    inputs = locked_inputs(entry)
    tags = identity_tags(inputs, entry) | _upstream(entries, inputs)
    tags |= processor_tags(recorded_kinds(workspace.kinds, {stage: entry}).get(stage))
    tags |= _history_tags(ledger, stage, inputs, outcome, origin or Origin(workspace.root, None))
    params = flat_params(inputs)
    run_id = ledger.ensure_run(inputs.key, stage, params, tags)
    if stage == "train":
        rows = read_rows(workspace.train_rows)
        if not ledger.rows_agree(
            run_id, rows
        ):  # mirrored rows of a run that continued from an older checkpoint with others
            ledger.discard_run(run_id)
            run_id = ledger.ensure_run(inputs.key, stage, params, tags)
        ledger.log_rows(run_id, rows)
        ledger.log_pool(run_id, "out/train/pool", locked_outs(entry)["out/train/pool"], context="training")
        if initial := named_pool(inputs.params.get("params.yaml", {})):
            ledger.log_pool(run_id, INITIAL_POOL, initial, context="initial")
    if stage == "export":
        ledger.log_model(run_id, workspace.bundle)
    ledger.log_metrics(run_id, numbers_in(read_json(workspace.stage_metrics(stage), StoreError)))
    ledger.log_record(run_id, entry)
    ledger.finish_run(run_id)
    return run_id


def with_read_outs(stage: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's entry with only the outputs that the ledger reads."""
    return {**entry, "outs": [out for out in entry["outs"] if out["path"] in _READ[stage]]}


def restore_kind(workspace: Workspace, ledger: Tracker, stage: str) -> None:
    """Write the kind of processor that a stage's run names to results/kind.yaml, if the file lacks it.

    DVC's run-cache restores outputs and not that file, which then names the kind of another run.

    Raises:
        StorageError: the file cannot be written; StoreError where the tracker failed.
    """
    entries = read_lock(workspace.dvc_lock)
    key = locked_inputs(entries[stage]).key
    run = ledger.find_run(key)
    kind = None if run is None else recorded_processor(run.tags)
    if kind is not None and stage not in recorded_kinds(workspace.kinds, entries):
        record_kind(workspace, stage, key, kind)


def check_inputs_kept(workspace: Workspace, stage: str, key: str) -> None:
    """Refuse a stage whose code or parameters were edited while it ran.

    DVC reads the inputs again at the end, so dvc.lock would name the old code's outputs as the new code's.

    Args:
        workspace: The project of the stage.
        stage: Name of a stage that just ran.
        key: The stage's key before it started.

    Raises:
        StageError: dvc.lock holds another key.
    """
    entry = read_lock(workspace.dvc_lock).get(stage)
    if entry is not None and locked_inputs(entry).key != key:
        raise StageError(
            f"stage '{stage}': its code or parameters were edited while it ran, so its outputs may differ "
            f"from those of the edited files. Run it again with `dvc repro --force --single-item {stage}`."
        )


def register_bundle(
    workspace: Workspace, ledger: Tracker, model_name: str, *, number: int | None = None
) -> VersionRecord:
    """Return the registered version of the workspace's bundle, which is created where there is none.

    Call `record_stage` for train and export before.

    Args:
        workspace: Holds the bundle, and the dvc.lock that names it.
        ledger: The ledger that has the stages' runs.
        model_name: Registered name.
        number: Number that the version had in a registry that was lost; None for the next one.

    Raises:
        StoreError: the export stage is not recorded, the number cannot be given, or the tracker failed.
        BundleError: the bundle is damaged.
    """
    entries = read_lock(workspace.dvc_lock)
    key = locked_inputs(entries["export"]).key if "export" in entries else ""
    run = ledger.find_run(key) if key else None
    if run is None:
        raise StoreError("the export stage is not in the ledger. `sacpipe ledger rebuild` records it.")
    model_id = ledger.log_model(run.run_id, workspace.bundle)
    train = ledger.find_run(run.tags.get(UPSTREAM_TAG, ""))
    source = train.tags if train is not None else {}
    tags = {
        STAGE_KEY_TAG: key,
        POLICY_TAG: sha256_file(workspace.bundle / "policy.onnx"),
        "sacpipe.bundle_md5": locked_outs(entries["export"])["out/export/bundle"],
        UPSTREAM_TAG: run.tags.get(UPSTREAM_TAG, ""),
        PARAMS_DIGEST_TAG: source.get(PARAMS_DIGEST_TAG, ""),
        COMMIT_TAG: source.get(COMMIT_TAG, ""),
    }
    digest = bundle_digest(workspace.bundle, follow_cache_links=True)
    return ledger.registry.register(
        model_name, model_id, run.run_id, digest, {k: v for k, v in tags.items() if v}, number=number
    )


def check_outs(workspace: Workspace, stage: str, entry: Mapping[str, Any]) -> None:
    """Check that the outputs that the ledger reads are those of a stage's entry of dvc.lock.

    Raises:
        StoreError: one is missing or differs.
    """
    expected = locked_outs(entry)
    for path in _READ[stage]:
        if not (workspace.root / path).exists():
            raise StoreError(f"{path} is missing in {workspace.root}. `dvc checkout {stage}` restores it.")
        found = dvc_md5(DiskTree(workspace.root), path)
        if found != expected.get(path):
            raise StoreError(
                f"{path}: expected md5 {expected.get(path)} as in dvc.lock, found {found}. "
                f"`dvc checkout --force {stage}` restores the expected one."
            )


def _upstream(entries: Mapping[str, Mapping[str, Any]], inputs: StageInputs) -> dict[str, str]:
    """Return the tag with the key of the training whose policy a later stage used."""
    policy = "out/train/policy.safetensors"
    train = entries.get("train")
    if train is None or policy not in inputs.deps or locked_outs(train).get(policy) != inputs.deps[policy]:
        return {}
    return {UPSTREAM_TAG: locked_inputs(train).key}


def _history_tags(
    ledger: Tracker, stage: str, inputs: StageInputs, outcome: Outcome | None, origin: Origin
) -> dict[str, str]:
    """Return tags about how a stage ran, without those that would replace better ones of its run."""
    run = ledger.find_run(inputs.key)
    known = run.tags if run is not None else {}
    tags = machine_tags() if outcome is Outcome.RAN else {}
    if outcome is Outcome.RAN or (outcome is not None and OUTCOME_TAG not in known):
        tags[OUTCOME_TAG] = outcome.value
    if known.get(IS_COMMITTED_TAG) != "true":
        tags |= commit_tags(origin.root, origin.commit, stage, inputs)
    return tags
