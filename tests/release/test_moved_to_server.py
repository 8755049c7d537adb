"""A project moves its registry to an empty MLflow server: robots that are pinned to a number keep their policy."""

import os
import shutil
import subprocess
import sys

import pytest
from ledger_project import flip
from released_project import NAME
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import GateError
from sacpipe.release.heal import heal
from sacpipe.rollout.registries import parse_address
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger
from sacpipe.tracking.mlflow.rest_source import MlflowSource

pytestmark = pytest.mark.acceptance


@pytest.fixture
def server(tmp_path, empty_ledger):
    """An MLflow server with an empty database: its address, and the folder of its artifacts."""
    database = shutil.copy(empty_ledger, tmp_path / "server.db")
    artifacts = tmp_path / "artifacts"
    kept = dict(os.environ)
    process = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "mlflow_server.py", f"sqlite:///{database}", artifacts],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")},
    )
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}", artifacts
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        os.environ.clear()
        os.environ.update(kept)


def test_a_robot_pinned_to_a_number_gets_the_same_policy_and_the_champion_alone_is_read(
    folder_project, server, tmp_path
):
    """Version 3 was rolled back: a robot is refused it. Only the champion is looked at over HTTP."""
    project, (uri, artifacts) = folder_project, server
    digests = project.release_three()
    project.registry.set_alias(NAME, "candidate", 2)  # a rebuild makes no barred version the candidate
    before = project.state()
    project.tracker = MlflowLedger(MlflowConnection(uri, tmp_path / "unused"))
    project.rebuild()
    assert project.state() == before

    def source(address):
        return MlflowSource(parse_address(f"models:/{NAME}{address}"), {"MLFLOW_TRACKING_URI": uri})

    assert [source(address).resolve().digest for address in ("/1", "/2", "@champion")] == [
        *(digests[1], digests[2], digests[1])
    ]
    with pytest.raises(GateError, match="barred rolled back"):
        source("/3").resolve()
    stored = {bundle_digest(path.parent): path for path in artifacts.rglob("policy.onnx")}
    for number in (1, 3):
        flip(stored[digests[number]])
    (line,) = heal(project.workspace, project.tracker, project.world, NAME)
    assert line.startswith("Reach/1 is damaged")
    assert line.endswith("Repaired: its files were written again from DVC.")
    assert source("@champion").resolve().pull()["policy.onnx"] == stored[digests[1]].read_bytes()
    assert project.releases.settle() == []
