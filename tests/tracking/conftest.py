"""Fixtures of the ledger's tests: a project whose stages ran, copies of it, and ledgers."""

import shutil
from pathlib import Path

import pytest
from ledger_project import GRAPH, PARAMS, SCRIPT, commit, git, repro

from sacpipe.project.workspace import Workspace
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger


@pytest.fixture(scope="session")
def database(empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one database for all tests, because opening one takes half a second."""
    return f"sqlite:///{shutil.copy(empty_ledger, tmp_path_factory.mktemp('ledger') / 'shared.db')}"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository under git and DVC whose stages ran once, from a commit. Tests work on copies."""
    root = tmp_path_factory.mktemp("trained")
    site = tmp_path_factory.mktemp("site")
    (root / ".dvc").mkdir()
    config = f"[core]\n no_scm = true\n check_update = false\n analytics = false\n site_cache_dir = {site}\n"
    files = {
        ".dvc/config": config,
        ".dvcignore": "__pycache__/\n",
        ".gitignore": "/out/\n/work/\n/.sacpipe/\n__pycache__/\n/.dvc/cache\n/.dvc/tmp\n",
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
        "stages.py": SCRIPT,
        "code/a.py": "a",
        "code/b/c.py": "c",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "init", "-q")
    commit(root)
    repro(root)
    return root


@pytest.fixture(scope="session")
def retrained(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same repository after a change of code and seed that was run and not committed."""
    root = tmp_path_factory.mktemp("retrained") / "project"
    shutil.copytree(trained, root)
    (root / "params.yaml").write_text(PARAMS.replace("seed: 1", "seed: 2"))
    (root / "code" / "new.py").write_text("new")
    repro(root)
    return root


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
