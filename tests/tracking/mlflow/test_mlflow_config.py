"""The project's ledger can be disposed of in any state; before training its state is known."""

import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.chosen import chosen_tracker, open_ledger
from sacpipe.tracking.mlflow.config import database as database_of
from sacpipe.tracking.mlflow.database import newest_revision

pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path: Path, empty_ledger: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A folder with an embedded ledger."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / ".sacpipe").mkdir()
    shutil.copy(empty_ledger, tmp_path / ".sacpipe" / "mlflow.db")
    return Workspace(tmp_path)


def put_aside(project: Workspace) -> str | None:
    return chosen_tracker(project).put_unusable_aside(project.state, os.environ)


def revise(path: Path, revision: str) -> None:
    with sqlite3.connect(path) as database:
        database.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    database.close()


DAMAGES = {
    "of a newer MLflow": (lambda path: revise(path, "ffffffffffff"), "expected schema .* found ffffffffffff"),
    "of an older MLflow": (
        lambda path: revise(path, "451aebb31d03"),
        "expected schema .* found 451aebb31d03",
    ),
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:-40960]), "mlflow.db"),
    "no database": (lambda path: path.write_bytes(b"x" * 9000), "not a database"),
    "a folder": (lambda path: (path.unlink(), path.mkdir()), "found a folder"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_ledger_in_any_state_is_refused_by_its_cause_and_rebuilt(project: Workspace, name: str) -> None:
    damage, message = DAMAGES[name]
    damage(database_of(project.state))
    with pytest.raises(StoreError, match=message) as caught:
        open_ledger(project).check()
    assert "sacpipe ledger rebuild" in str(caught.value)
    line = put_aside(project)
    assert line is not None
    assert "mlflow.db.1 now" in line
    assert database_of(project.state).with_name("mlflow.db.1").exists()
    assert not database_of(project.state).exists()


def test_a_ledger_of_a_moved_folder_is_put_aside(project: Workspace) -> None:
    with sqlite3.connect(database_of(project.state)) as database:
        row = (77, "sacpipe", "file:///elsewhere", "active")
        database.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage) VALUES (?, ?, ?, ?)",
            row,
        )
    database.close()
    line = put_aside(project)
    assert line is not None
    assert "The folder was moved" in line


def test_a_ledger_that_can_be_used_stays_where_it_is(project: Workspace) -> None:
    assert put_aside(project) is None
    assert put_aside(Workspace(project.root / "new")) is None
    assert [one.name for one in project.state.glob("mlflow.db*")] == ["mlflow.db"]


def test_a_locked_ledger_is_left_alone(project: Workspace) -> None:
    other = sqlite3.connect(database_of(project.state))
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StoreUnavailableError, match=rf"locked by process {os.getpid()} \("):
        put_aside(project)
    other.close()
    assert database_of(project.state).exists()


@pytest.mark.parametrize("kind", ["database", "server"])
def test_a_ledger_that_the_operator_chose_is_never_moved(
    project: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    chosen = tmp_path / "team.db"
    chosen.write_bytes(b"x" * 9000)
    uri = {"database": f"sqlite:///{chosen}", "server": "http://127.0.0.1:9"}[kind]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    with pytest.raises(StoreError, match=r"team.db|127.0.0.1:9"):
        put_aside(project)
    assert chosen.exists()
    assert database_of(project.state).exists()


def test_mlflows_private_revision_is_that_of_its_new_databases(empty_ledger: Path) -> None:
    database = sqlite3.connect(empty_ledger)
    assert database.execute("SELECT version_num FROM alembic_version").fetchone() == (newest_revision(),)
    database.close()


def test_workspaces_of_one_process_have_ledgers_of_their_own(project: Workspace, empty_ledger: Path) -> None:
    """MLflow's functions for its addresses write variables, which the next workspace would read."""
    open_ledger(project).check()
    second = project.root / "second"
    (second / ".sacpipe").mkdir(parents=True)
    shutil.copy(empty_ledger, second / ".sacpipe" / "mlflow.db")
    variables = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    assert variables == dict.fromkeys(variables)
    ledger = open_ledger(Workspace(second))
    run_id = ledger.ensure_run("ab" * 32, "train", {}, {})
    assert open_ledger(Workspace(second)).find_run("ab" * 32).run_id == run_id
    assert open_ledger(project).find_run("ab" * 32) is None
