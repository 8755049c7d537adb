"""Fixtures of the ledger's tests: a project whose stages ran, copies of it, and ledgers. `trained` is in ledger_fixtures."""

import shutil
from pathlib import Path

import pytest

from sacpipe.project.workspace import Workspace
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger


@pytest.fixture(scope="session")
def database(empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one database for all tests, because opening one takes half a second."""
    return f"sqlite:///{shutil.copy(empty_ledger, tmp_path_factory.mktemp('ledger') / 'shared.db')}"


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(trained, tmp_path / "project")
    return Workspace(tmp_path / "project")


@pytest.fixture
def changed(retrained: Path, tmp_path: Path) -> Workspace:
    """A copy of the changed repository."""
    shutil.copytree(retrained, tmp_path / "changed")
    return Workspace(tmp_path / "changed")


@pytest.fixture
def ledger(database: str, tmp_path: Path) -> MlflowLedger:
    artifacts = Workspace(tmp_path / "project").state / "mlartifacts"
    return MlflowLedger(MlflowConnection(database, artifacts, experiment=str(tmp_path)))


@pytest.fixture
def lost(empty_ledger: Path, tmp_path: Path) -> MlflowLedger:
    """An empty ledger, as after the ledger was deleted."""
    shutil.copy(empty_ledger, tmp_path / "another.db")
    return MlflowLedger(MlflowConnection(f"sqlite:///{tmp_path}/another.db", tmp_path / "another"))


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A registered name that no other test uses."""
    return f"Reach-{tmp_path.name}"
