"""Metrics of a running stage reach the ledger, and no ledger stops or slows a stage."""

import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_project import LOSSES, history

from sacpipe.core.errors import StageError
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.ledger import record_stage
from sacpipe.tracking.live_metrics import LiveMetrics
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger


def write_rows(path: Path, rows: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for n in rows:
            file.write(json.dumps({"env_steps": 10 * n, "gradient_steps": n, "critic/loss": n / 4}) + "\n")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + 30, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        tick.wait(0.02)


def test_rows_appear_while_a_stage_runs_and_are_completed_after_it(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    key = stage_key(workspace, "train")
    path = workspace.work(key) / "metrics.jsonl"

    def mirrored() -> int:
        run = ledger.find_run(key)
        return 0 if run is None else int(run.tags.get("sacpipe.metric_rows", "0"))

    with LiveMetrics(workspace, ledger, "train", interval_s=0.05):
        write_rows(path, range(2))
        wait_for(lambda: mirrored() == 2)
        write_rows(path, range(2, 3))
        with path.open("a") as file:
            file.write('{"env_steps": 30')  # a line that is still being written
        wait_for(lambda: mirrored() == 3)
        path.write_text("")  # killed, and resumed from an older checkpoint
        write_rows(path, range(4))
        wait_for(lambda: mirrored() == 4)
    run_id = record_stage(workspace, ledger, "train")
    assert history(ledger, run_id, "critic/loss") == LOSSES


def test_a_failed_stage_leaves_no_run_that_seems_to_be_in_progress(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    key = stage_key(workspace, "train")
    write_rows(workspace.work(key) / "metrics.jsonl", range(1))

    def diverge() -> None:
        wait_for(lambda: ledger.find_run(key) is not None)
        raise StageError("diverged")

    mirror = LiveMetrics(workspace, ledger, "train", interval_s=0.05)
    with pytest.raises(StageError), mirror:
        diverge()
    wait_for(lambda: not mirror._thread.is_alive())
    run = ledger.find_run(key)
    assert run is not None
    assert run.status == "FAILED"
    assert ledger.run(record_stage(workspace, ledger, "train")).status == "FINISHED"


@pytest.mark.parametrize("answers", [True, False])
def test_a_dead_ledger_neither_stops_nor_slows_a_stage(
    workspace: Workspace, ledger: MlflowLedger, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    path = workspace.work(stage_key(workspace, "train")) / "metrics.jsonl"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen()  # accepts the connection and never answers
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        dead = MlflowLedger(MlflowConnection(uri, workspace.state))
        write_rows(path, range(1))
        begin = time.monotonic()
        with (
            caplog.at_level(logging.WARNING),
            LiveMetrics(workspace, dead, "train", interval_s=0.05) as mirror,
        ):
            for n in range(1, 5):
                write_rows(path, range(n, n + 1))
            if not answers:
                wait_for(lambda: not mirror._thread.is_alive())
        elapsed = time.monotonic() - begin
    if not answers:
        (warning,) = caplog.records
        assert "does not answer" in warning.getMessage()
    assert elapsed < 5
    assert len(path.read_text().splitlines()) == 5
    assert history(ledger, record_stage(workspace, ledger, "train"), "critic/loss") == LOSSES
