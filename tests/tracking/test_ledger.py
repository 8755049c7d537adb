"""Stages are recorded from DVC's outputs."""

import shutil

import pytest
from ledger_project import LOSSES, git, history, record_all

from sacpipe.core.errors import StageError, StoreError
from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.processor_kind import read_kinds, record_kind, this_processor
from sacpipe.project.stage_key import StageInputs, locked_inputs, locked_outs, stage_key
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.ledger import check_inputs_kept, record_stage, register_bundle, restore_kind
from sacpipe.tracking.ledger_values import (
    IS_COMMITTED_TAG,
    OUTCOME_TAG,
    VERSION_TAG,
    flat_params,
    recorded_processor,
)
from sacpipe.tracking.mlflow.ledger import MlflowLedger


def test_every_stage_has_one_run_with_the_values_of_dvc_lock(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    ids = record_all(workspace, ledger)
    assert record_all(workspace, ledger) == ids
    entries = read_lock(workspace.dvc_lock)
    train, export, evaluate = (ledger.run(run_id) for run_id in ids)
    assert [run.stage_key for run in (train, export, evaluate)] == [stage_key(workspace, s) for s in STAGES]
    steps = {"training.total_steps": "40", "training.tau": "0.005", "training.sizes": "[1, 2]"}
    assert train.params == {"seed": "1"} | steps
    assert history(ledger, ids[0], "critic/loss") == LOSSES
    assert train.metrics["return_mean_deterministic"] == 2.5
    assert train.datasets == {"out/train/pool": locked_outs(entries["train"])["out/train/pool"]}
    assert export.metrics == {"parity_max_error": 0.0}
    assert evaluate.metrics["bundle/return_mean"] == 3.5
    assert len(export.model_ids) == 1
    assert {run.status for run in (train, export, evaluate)} == {"FINISHED"}
    assert train.tags[IS_COMMITTED_TAG] == "true"
    assert train.tags["sacpipe.commit"] == git(workspace.root, "rev-parse", "HEAD")
    assert (train.tags[OUTCOME_TAG], f"{VERSION_TAG}numpy" in train.tags) == ("ran", True)
    assert ledger.record(ids[0]) == entries["train"]


def test_a_restored_stage_has_no_versions_and_replaces_no_earlier_ones(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    run = ledger.run(record_stage(workspace, ledger, "train", Outcome.RESTORED))
    assert run.tags[OUTCOME_TAG] == "restored"
    assert not any(name.startswith(VERSION_TAG) for name in run.tags)
    record_stage(workspace, ledger, "train", Outcome.RAN)
    again = ledger.run(record_stage(workspace, ledger, "train", Outcome.UNCHANGED))
    assert (again.tags[OUTCOME_TAG], f"{VERSION_TAG}numpy" in again.tags) == ("ran", True)


def test_a_run_names_the_kind_of_processor_and_a_restored_stage_gets_it_back(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    """The stage wrote the kind under its key. DVC's run-cache restores outputs, and the kind comes from the run."""
    key = stage_key(workspace, "train")
    assert recorded_processor(ledger.run(record_stage(workspace, ledger, "train")).tags) is None
    kind = this_processor().replace(model="99", name="A processor")
    record_kind(workspace, "train", key, kind)
    run_id = record_stage(workspace, ledger, "train", Outcome.UNCHANGED)  # plain `dvc repro` ran it
    assert recorded_processor(ledger.run(run_id).tags) == kind
    record_kind(workspace, "train", "0" * 64)
    record_kind(workspace, "export", "1" * 64)
    assert recorded_processor(ledger.run(record_stage(workspace, ledger, "train")).tags) == kind
    restore_kind(workspace, ledger, "train")
    restored = read_kinds(workspace.kinds)
    assert (restored["train"].stage_key, restored["train"].processor) == (key, kind)
    assert restored["export"].stage_key == "1" * 64


def test_an_output_that_is_missing_or_changed_is_named(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    shutil.rmtree(workspace.pool)  # not needed: dvc.lock names its digest
    record_stage(workspace, ledger, "train")
    workspace.train_metrics.write_text("{}")
    with pytest.raises(
        StoreError, match=r"out/train/metrics.json: expected md5 .* `dvc checkout --force train`"
    ):
        record_stage(workspace, ledger, "train")
    workspace.train_rows.unlink()
    workspace.train_metrics.unlink()
    with pytest.raises(StoreError, match=r"out/train/metrics.json is missing .* `dvc checkout train`"):
        record_stage(workspace, ledger, "train")
    workspace.dvc_lock.unlink()
    with pytest.raises(StoreError, match="stage 'train' never ran"):
        record_stage(workspace, ledger, "train")
    with pytest.raises(StoreError, match="the export stage is not in the ledger"):
        register_bundle(workspace, ledger, name)


def test_a_stage_whose_code_was_edited_while_it_ran_is_refused(workspace: Workspace) -> None:
    key = stage_key(workspace, "train")
    check_inputs_kept(workspace, "train", key)
    with pytest.raises(StageError, match="edited while it ran.*`dvc repro --force --single-item train`"):
        check_inputs_kept(workspace, "train", "0" * 64)


def test_rows_mirrored_from_a_run_that_continued_otherwise_are_replaced(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    entry = read_lock(workspace.dvc_lock)["train"]
    params = flat_params(locked_inputs(entry))
    mirrored = ledger.ensure_run(locked_inputs(entry).key, "train", params, {})
    ledger.log_rows(mirrored, [{"env_steps": 0, "gradient_steps": 0, "critic/loss": 99.0}])
    run_id = record_stage(workspace, ledger, "train")
    assert run_id != mirrored
    assert history(ledger, run_id, "critic/loss") == LOSSES


def test_the_ledger_opened_for_a_workspace_is_the_one_the_environment_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert open_ledger(workspace).tracking_uri == f"sqlite:///{workspace.state}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ledger:5000")
    assert open_ledger(workspace).tracking_uri == "http://ledger:5000"


def test_parameters_that_dvc_takes_for_equal_are_shown_alike() -> None:
    one, other = (StageInputs("x", {}, {"params.yaml": {"a": {"b": n, "c": {}}}}) for n in (1, 1.0))
    assert flat_params(one) == flat_params(other) == {"a.b": 1, "a.c": {}}
    assert flat_params(StageInputs("x", {}, {"other.yaml": {"a": 1}})) == {"other.yaml.a": 1}
