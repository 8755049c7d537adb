"""Two clones over a shared bare repository promote at the same moment on one registry, round after round."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgresql import postgresql
from repository import ROOT

from sacpipe.tracking.mlflow.release_lock import LOCK_VARIABLE

ROUNDS = 50


def raced(folder: Path, registry: str, rounds: int, excludes: str, **variables: str) -> Any:
    """Run the script with more variables, and return how the rounds ended."""
    script = ROOT / "tests" / "release" / "raced_releases.py"
    (folder / "temporary").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "TMPDIR": str(folder / "temporary"),
    } | variables
    # Without a delay before the lease is read again, each lease may be taken by both.
    command = [sys.executable, str(script), str(folder), registry, str(rounds), excludes, "0"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == []
    return report["ends"]


@pytest.fixture
def server(memory_folder: Path) -> Iterator[dict[str, str]]:
    """Start MLflow's server on PostgreSQL; return the variables of a promoter.

    It has no accounts: with them each of some ten thousand requests takes three times as long.
    """
    with postgresql("mlflow") as cluster:
        address = cluster.address("mlflow")
        script = ROOT / "tests" / "mlflow_server.py"
        process = subprocess.Popen(
            [sys.executable, script, address, memory_folder / "artifacts"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            yield {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}", LOCK_VARIABLE: address}
        finally:
            process.kill()
            process.communicate()


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
def test_one_of_two_wins_each_of_fifty_rounds_on_a_server(
    memory_folder: Path, server: dict[str, str]
) -> None:
    """The same over HTTP, where each promoter has the address of PostgreSQL for its advisory lock."""
    assert raced(memory_folder, "server", ROUNDS, "excludes", **server)["1 winners"] == ROUNDS


@pytest.mark.acceptance
def test_where_nothing_excludes_two_never_win_and_every_disagreement_is_reported(memory_folder: Path) -> None:
    """Lease, head and alias are compared: both may lose, and what they leave is found by the next command."""
    ends = raced(memory_folder, "folder", ROUNDS, "open")
    assert ends["0 winners"] + ends["1 winners"] == ROUNDS
    assert ends["LostRaceError"] > 0
