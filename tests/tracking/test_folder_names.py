"""A project in a folder of any name: MLflow itself records, reads and gives back the artifacts."""

import shutil

import pytest
from ledger_project import LOSSES, history, record_all, release

from sacpipe.bundle.files import bundle_digest
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.chosen import open_ledger


@pytest.mark.parametrize("name", ["a%20b", "100%", "a#b", "a?b=c&d", "a+b ü"])
def test_the_ledger_is_in_the_project_and_nothing_is_beside_it(
    trained, empty_ledger, tmp_path, monkeypatch, name
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    root = tmp_path / "home" / name
    shutil.copytree(trained, root)
    workspace = Workspace(root)
    workspace.state.mkdir()
    shutil.copy(empty_ledger, workspace.state / "mlflow.db")
    ids = record_all(workspace, open_ledger(workspace))
    release(workspace, open_ledger(workspace), "Reach")

    again = open_ledger(workspace)  # another connection reads what the first one wrote
    assert history(again, ids[0], "critic/loss") == LOSSES
    assert again.record(ids[0])["cmd"] == "python stages.py train"
    fetched = again.registry.fetch_bundle("Reach", "champion", tmp_path / "fetched")
    assert fetched.digest == bundle_digest(workspace.bundle)
    assert again.registry.smoke_load("Reach", "champion", fetched) == 0.0
    assert any(workspace.state.rglob("policy.onnx"))
    assert [path.name for path in (tmp_path / "home").iterdir()] == [name]
