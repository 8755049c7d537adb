"""Two clones over a shared bare repository promote at the same moment on one registry, round after round."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

ROUNDS = 50


def raced(folder: Path, registry: str, rounds: int, excludes: str) -> Any:
    """Run the script, and return how the rounds ended."""
    script = ROOT / "tests" / "release" / "raced_releases.py"
    (folder / "temporary").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "TMPDIR": str(folder / "temporary"),
    }
    # Without a delay before the lease is read again, each lease may be taken by both.
    command = [sys.executable, str(script), str(folder), registry, str(rounds), excludes, "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    return report["ends"]


@pytest.mark.slow
def test_one_of_two_wins(memory_folder: Path) -> None:
    """The other one is named the winner, and both clones end with the same history."""
    assert raced(memory_folder, "folder", 5, "excludes")["1 winners"] == 5


@pytest.mark.acceptance
@pytest.mark.parametrize("registry", ["folder", "mlflow"])
def test_one_of_two_wins_each_of_fifty_rounds(memory_folder: Path, registry: str) -> None:
    """The same on a lock file beside a folder, and beside an SQLite database."""
    assert raced(memory_folder, registry, ROUNDS, "excludes")["1 winners"] == ROUNDS


@pytest.mark.acceptance
def test_where_nothing_excludes_two_never_win_and_every_disagreement_is_reported(memory_folder: Path) -> None:
    """Lease, head and alias are compared: both may lose, and what they leave is found by the next command."""
    ends = raced(memory_folder, "folder", ROUNDS, "open")
    assert ends["0 winners"] + ends["1 winners"] == ROUNDS
    assert ends["LostRaceError"] > 0
