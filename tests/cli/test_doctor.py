"""Every check of the doctor ends in a row, whatever the checked program does, and opens what a run will need."""

import json
import sqlite3
import sys
from pathlib import Path

import pytest
from small_project import sacpipe

from sacpipe.cli.doctor import Check, examine
from sacpipe.core.errors import ConfigError, StoreError, StoreUnavailableError


@pytest.mark.parametrize(
    ("raised", "needed", "advice"),
    [
        (
            RuntimeError("invalid value for\nenvironment variable"),
            True,
            "RuntimeError: invalid value for environment",
        ),
        (AttributeError("gone"), True, "AttributeError: gone"),
        (OSError(2, "No such file"), True, "No such file"),
        (ConfigError("install it."), True, "install it."),
        (StoreError("damaged. Rebuild it."), True, "damaged. Rebuild it."),
        (StoreUnavailableError("does not answer."), False, "does not answer."),
    ],
)
def test_a_check_that_raises_is_a_row_with_the_cause(raised, needed, advice):
    def find():
        raise raised

    row = examine(Check("name", True, "broken", find))
    assert (row.ok, row.needed, row.found) == (False, needed, "broken")
    assert advice in row.advice


def test_a_check_that_passes_is_a_row_without_advice():
    row = examine(Check("name", False, "broken", lambda: "whole"))
    assert (row.ok, row.needed, row.found, row.advice) == (True, False, "whole", "")


@pytest.mark.slow
def test_broken_surroundings_are_one_row_each(project, tmp_path):
    with sqlite3.connect(project / ".sacpipe" / "mlflow.db") as database:
        database.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    database.close()
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    seen = sacpipe(
        project,
        "doctor",
        "--json",
        env={
            "MUJOCO_GL": "nonsense",
            "PATH": str(tmp_path / "bin"),
            "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        },
    )
    rows = {row["name"]: row for row in json.loads(seen.out)}
    failed = {name: row["advice"] for name, row in rows.items() if not row["ok"]}
    assert seen.code == 1
    assert rows["simulator"]["ok"]  # simulators are imported without OpenGL
    assert "MUJOCO_GL=nonsense" in rows["renderer"]["found"] + rows["renderer"]["advice"]
    assert "install git" in failed["git"]
    assert not rows["git"]["needed"]
    assert "expected schema" in failed["ledger"]
    assert "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=false" in failed["orchestrator"]
    assert {"packages", "devices", "workspace", "dvc"}.isdisjoint(failed)
    assert Path(project / ".sacpipe" / "mlflow.db").is_file()


@pytest.mark.slow
def test_a_run_that_the_doctor_refuses_starts_nothing(project):
    (project / "out" / "export" / "metrics.json").unlink()
    forbidden = {"PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false"}
    seen = sacpipe(project, "run", "--doctor", "--engine", "local", env=forbidden)
    assert seen.code == 1
    assert "FAIL  orchestrator" in seen.err
    assert "This machine is not ready; see FAIL above." in seen.err
    assert not (project / "out" / "export" / "metrics.json").exists()
