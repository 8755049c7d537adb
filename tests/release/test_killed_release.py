"""A release command is killed before each of its calls, or a call fails: the next command settles it.

Afterwards the alias is where the history says, no intent is open, the head is the newest record, its files are
committed, and the same command run again does what it was asked for. `killed_releases.py` has the scenes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT


def tried(folder: Path, *arguments: str) -> Any:
    """Run the script, and return its report after a look at what every report must show."""
    script = ROOT / "tests" / "release" / "killed_releases.py"
    (folder / "temporary").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "TMPDIR": str(folder / "temporary"),
    }
    command = [sys.executable, str(script), str(folder), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == {}
    return report


@pytest.mark.slow
@pytest.mark.parametrize("scene", ["first", "replacement", "rollback"])
def test_a_kill_before_each_write_is_settled(memory_folder: Path, scene: str) -> None:
    """Nothing began, the move is undone, it is finished, or its last record is published or committed."""
    ends = tried(memory_folder, "folder", scene, "kill", "writes")["ends"]
    assert set(ends) == {"nothing", "undone", "finished", "published", "committed"}
    assert ends["undone"] >= 3
    assert ends["finished"] >= 8


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", ["again", "restore", "adopt"])
def test_a_kill_of_the_rarer_commands_is_settled(memory_folder: Path, scene: str) -> None:
    """What a hand moved stays drift until the command that repairs it was run again."""
    assert tried(memory_folder, "folder", scene, "kill", "writes")["tries"] >= 10


@pytest.mark.acceptance
def test_a_kill_before_each_call_is_settled(memory_folder: Path) -> None:
    """Reads too: a command that only looked leaves nothing."""
    report = tried(memory_folder, "folder", "replacement", "kill", "all")
    assert report["tries"] == report["calls"] > 80


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", ["first", "replacement", "rollback", "again", "restore", "adopt"])
@pytest.mark.parametrize("mode", ["fail", "lose"])
def test_a_call_that_fails_is_settled(memory_folder: Path, scene: str, mode: str) -> None:
    """Without effect, or with an effect but without an answer."""
    assert tried(memory_folder, "folder", scene, mode, "writes")["tries"] >= 10


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", ["replacement", "rollback", "restore"])
def test_a_registry_that_stays_away_is_settled(memory_folder: Path, scene: str) -> None:
    """From each of its calls on, until the next command."""
    assert tried(memory_folder, "folder", scene, "away", "registry")["tries"] >= 40


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", ["first", "replacement", "rollback"])
def test_a_kill_on_mlflow_is_settled(memory_folder: Path, scene: str) -> None:
    """The same on a database, whose locks and transactions a killed process leaves to SQLite."""
    assert tried(memory_folder, "mlflow", scene, "kill", "writes")["tries"] >= 20
