"""The contract of trackers and registries holds for a folder, MLflow and another package's, and finds what breaks it."""

import shutil
from contextlib import nullcontext
from dataclasses import replace

import pytest
from repository import ROOT

from sacpipe.core.errors import ContractError
from sacpipe.rollout.registries import TRACKERS, choose_registry
from sacpipe.testing.trackers import check_registry, check_tracker
from sacpipe.tracking.folder.registry import FolderRegistry
from sacpipe.tracking.folder.tracker import FolderTracker
from sacpipe.tracking.registry import RegistrySource

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
REGISTER = FolderRegistry.register
SET_DESCRIPTION = FolderRegistry.set_description
DELETE_VERSION = FolderRegistry.delete_version
EXCLUSIVE = FolderRegistry.exclusive


def register_next(self, *args, number=None):
    return REGISTER(self, *args)


def register_twice(self, name, model_id, run_id, digest, tags, *, number=None):
    if number in [one.version for one in self.versions(name) if one.bundle_digest != digest]:
        return self.version(name, number)
    return REGISTER(self, name, model_id, run_id, digest, tags, number=number)


def forget_number(self, name, version):
    DELETE_VERSION(self, name, version)
    self._write(name, self._read(name), deleted={})


def delete_named(self, name, version):
    for alias in self.version(name, version).aliases:
        self.delete_alias(name, alias)
    DELETE_VERSION(self, name, version)


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
    "no number": ("register", register_next, "with a number: expected 3"),
    "a number of two bundles": ("register", register_twice, "the number of another bundle"),
    "a number given again": ("delete_version", forget_number, "the number of a deleted version"),
    "a deleted champion": ("delete_version", delete_named, "delete_version of an alias's"),
    "a kept version": ("delete_version", forget, "versions after delete_version"),
    "a lost description": ("set_description", forget, "description"),
    "a description cut": (
        "set_description",
        lambda self, name, version, text: SET_DESCRIPTION(self, name, version, text[:4999]),
        "description: expected",
    ),
    "a description of any length": (
        "set_description",
        lambda self, name, version, text: self._change(name, version, description=text),
        "a longer description",
    ),
    "lost tags of a name": ("set_model_tags", forget, "model_tags: expected"),
    "tags of a name replaced": (
        "set_model_tags",
        lambda self, name, tags: self._write(name, self._read(name), tags=dict(tags)),
        "model_tags: expected",
    ),
    "tags of no name": ("model_tags", lambda self, name: {"a": "b"}, "model_tags of an unknown name"),
    "any bundle's files": ("restore_files", forget, "another bundle: expected a StoreError"),
    "a lock of every name": (
        "exclusive",
        lambda self, name: EXCLUSIVE(self, ""),
        "another release command holds the lock",
    ),
    "a lock of nothing": ("exclusive", lambda self, name: nullcontext(True), "exclusive twice"),
}
DOWNLOAD = FolderRegistry.download
BARS = RegistrySource.bars


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


@pytest.mark.parametrize(
    ("bars", "said"),
    [
        (lambda self, known: {}, "bars: the barred bundle alone"),
        (lambda self, known: dict.fromkeys(known, "it shook"), "bars: the barred bundle alone"),
        (
            lambda self, known: {
                one.bundle_digest: one.barred for one in self._registry.versions(self._address.name)
            },
            "bars: no bundle that was not asked for",
        ),
        (
            lambda self, known: dict.fromkeys(known, "") | BARS(self, known),
            "bars: lifted, and nothing of an unknown",
        ),
        (
            lambda self, known: {digest: text for digest, text in BARS(self, known).items() if text},
            "bars: lifted",
        ),
    ],
)
def test_a_source_that_is_wrong_about_bars_is_named(monkeypatch, bars, said):
    monkeypatch.setattr(RegistrySource, "bars", bars)
    with pytest.raises(ContractError, match=said):
        check_registry(TRACKERS.find("folder")(name="folder"))


def test_a_source_that_gives_a_barred_version_is_named(monkeypatch):
    monkeypatch.setattr("sacpipe.tracking.registry.check_allowed", forget)
    with pytest.raises(ContractError, match="source of a barred version: expected a GateError"):
        check_registry(TRACKERS.find("folder")(name="folder"))
