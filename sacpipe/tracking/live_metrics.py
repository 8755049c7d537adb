"""Metrics of a running stage, in the ledger every few seconds, at no cost to the stage.

Floor 5. A thread of the orchestrator reads the rows a stage appends to work/<key>/metrics.jsonl and
sends the new ones. The stage knows nothing of it. Any trouble is told once and ends the mirroring:
`record_stage` logs what is missing afterwards.
"""

import json
import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sacpipe.project.stage_key import DiskTree, StageInputs, stage_inputs
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.ledger_values import flat_params
from sacpipe.tracking.mlflow.ledger import MlflowLedger

logger = logging.getLogger(__name__)

_LONGEST_CALL_S = 30.0


class LiveMetrics:
    """A context manager around the run of one stage."""

    def __init__(
        self, workspace: Workspace, ledger: MlflowLedger, stage: str, *, interval_s: float = 5.0
    ) -> None:
        """Prepare to mirror a stage as its inputs lie on disk now.

        Args:
            workspace: Where the stage works.
            ledger: Where its rows go.
            stage: Name of the stage.
            interval_s: Time between two looks.

        Raises:
            ConfigError: the stage's inputs are missing or wrong.
        """
        self._ledger, self._stage, self._interval_s = ledger, stage, interval_s
        self._inputs: StageInputs = stage_inputs(DiskTree(workspace.root), stage)
        self._rows = _GrowingRows(workspace.work(self._inputs.key) / "metrics.jsonl")
        self._sent = 0
        self._run_id: str | None = None
        self._has_failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._mirror, name=f"mirror-{stage}", daemon=True)

    def __enter__(self) -> Self:
        """Start to look."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop to look, and let a call under way end, so that nobody else makes the same run meanwhile."""
        self._has_failed = kind is not None
        self._stop.set()
        self._thread.join(timeout=_LONGEST_CALL_S)

    def _mirror(self) -> None:
        try:
            while not self._stop.wait(self._interval_s):
                self._send()
            if self._has_failed and self._run_id is not None:
                self._ledger.finish_run(self._run_id, is_complete=False)  # until `record_stage` finishes it
        except Exception as exc:  # noqa: BLE001 - the ledger must never end a training
            logger.warning(
                "live metrics of stage '%s' end here: %s The ledger is completed after the stage.",
                self._stage,
                exc,
            )

    def _send(self) -> None:
        rows = self._rows.read()
        if len(rows) > self._sent:
            inputs = self._inputs
            self._run_id = self._ledger.ensure_run(inputs.key, self._stage, flat_params(inputs), {})
            self._ledger.log_rows(self._run_id, rows)
            self._sent = len(rows)


class _GrowingRows:
    """The whole lines of a file that grows, read once each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._rows: list[dict[str, Any]] = []

    def read(self) -> list[dict[str, Any]]:
        """Return every row so far; a file cut back, as a resumed stage does, is read from the start."""
        if not self._path.is_file():
            return self._rows
        with self._path.open("rb") as file:
            if file.seek(0, 2) < self._offset:
                self._offset, self._rows = 0, []
            file.seek(self._offset)
            whole, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        self._rows.extend(json.loads(line) for line in whole.splitlines() if line.strip())
        return self._rows
