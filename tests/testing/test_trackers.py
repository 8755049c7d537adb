"""The contract of trackers and registries holds for a folder, MLflow and another package's, and finds what breaks it."""

import shutil
from dataclasses import replace

import pytest
from repository import ROOT

from sacpipe.core.errors import ContractError
from sacpipe.rollout.registries import TRACKERS, choose_registry
from sacpipe.testing.trackers import check_registry, check_tracker
from sacpipe.tracking.folder.registry import FolderRegistry
from sacpipe.tracking.folder.tracker import FolderTracker

MEMBERS = [
    "folder",
    pytest.param("mlflow", marks=pytest.mark.slow),
    "sacpipe_example.tracker:OneFileTracking",
]


@pytest.fixture
def variables(tmp_path, request, monkeypatch):
    """The variables that name an empty store of each member."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "example_package"))
    if "mlflow" not in request.node.callspec.params.values():
        return {}
    shutil.copy(request.getfixturevalue("empty_ledger"), tmp_path / "mlflow.db")
    return {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db"}


@pytest.mark.parametrize("check", [check_tracker, check_registry])
@pytest.mark.parametrize("name", MEMBERS)
def test_every_member_keeps_the_contract(name, check, variables):
    check(choose_registry(None, {"SACPIPE_TRACKING": name}), variables)


def forget(self, *_, **__):
    return None


TRACKER_FAULTS = {
    "a lost status": ("finish_run", forget, "status after finish_run"),
    "a lost summary": ("log_metrics", forget, "metrics"),
    "a lost pool": ("log_pool", forget, "datasets"),
    "a lost record": ("log_record", forget, "stage.json is missing"),
    "any rows": ("rows_agree", lambda self, run_id, rows: True, "rows_agree"),
    "no rows": ("log_rows", lambda self, run_id, rows: 0, "log_rows: the number"),
    "a kept run": ("discard_run", forget, "find_run after discard_run"),
    "an unread bundle": ("log_model", lambda self, run_id, folder: "0" * 64, "model_ids"),
    "one parameter": ("shown_params", lambda self, params: {"seed": "1"}, "shown_params"),
    "no run": ("find_run", forget, "expected the run of"),
}
REGISTRY_FAULTS = {
    "a lost alias": ("set_alias", forget, "has no version or alias 'champion'|moved alias"),
    "a kept alias": ("delete_alias", forget, "aliases after delete_alias"),
    "lost tags": ("set_version_tags", forget, "tags after set_version_tags"),
    "another digest": (
        "download",
        lambda self, record, folder: (DOWNLOAD(self, record, folder)[0], "0" * 64),
        "the SHA-256 of the policy",
    ),
    "the first bundle": (
        "download",
        lambda self, record, folder: DOWNLOAD(
            self, replace(record, model_id=self.versions(record.name)[0].model_id), folder
        ),
        "source: the bundle's files|expected bundle",
    ),
}
DOWNLOAD = FolderRegistry.download


@pytest.mark.parametrize("fault", TRACKER_FAULTS)
def test_a_fault_of_a_tracker_is_named(fault, monkeypatch):
    name, method, said = TRACKER_FAULTS[fault]
    monkeypatch.setattr(FolderTracker, name, method)
    with pytest.raises(ContractError, match=rf"tracker 'folder': .*{said}"):
        check_tracker(TRACKERS.find("folder")(name="folder"))


@pytest.mark.parametrize("fault", REGISTRY_FAULTS)
def test_a_fault_of_a_registry_is_named(fault, monkeypatch):
    name, method, said = REGISTRY_FAULTS[fault]
    monkeypatch.setattr(FolderRegistry, name, method)
    with pytest.raises(ContractError, match=rf"tracker 'folder': .*({said})"):
        check_registry(TRACKERS.find("folder")(name="folder"))
