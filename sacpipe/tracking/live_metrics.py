"""Copy the metrics of a running stage to the ledger every few seconds.

A thread of the flow reads the rows that a stage appends to work/<key>/metrics.jsonl, and sends new rows to
the ledger. The stage itself does not wait for it. The first error is logged once and ends the copying;
`record_stage` logs the missing rows afterwards.
"""

import logging
import threading
from types import TracebackType
from typing import Self

from sacpipe.core.json_lines import GrowingJsonLines
from sacpipe.project.stage_key import DiskTree, StageInputs, stage_inputs
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.ledger_values import flat_params
from sacpipe.tracking.tracker import Tracker

logger = logging.getLogger(__name__)

_MAX_CALL_S = 30.0


class LiveMetrics:
    """A context manager that copies the metrics of one stage while it is entered."""

    def __init__(self, workspace: Workspace, ledger: Tracker, stage: str, *, interval_s: float = 5.0) -> None:
        """Compute the stage key from the inputs on disk.

        Args:
            workspace: The project of the stage.
            ledger: The ledger that gets the rows.
            stage: Name of the stage.
            interval_s: Seconds between two reads of the file.

        Raises:
            ConfigError: the stage's inputs are missing or wrong.
        """
        self._ledger, self._stage, self._interval_s = ledger, stage, interval_s
        self._inputs: StageInputs = stage_inputs(DiskTree(workspace.root), stage)
        self._rows = GrowingJsonLines(workspace.work(self._inputs.key) / "metrics.jsonl")
        self._sent = 0
        self._run_id: str | None = None
        self._has_failed = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._mirror, name=f"mirror-{stage}", daemon=True)

    def __enter__(self) -> Self:
        """Start the thread."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the thread after its call in progress, so that no second client creates the same run."""
        self._has_failed = kind is not None
        self._stop.set()
        self._thread.join(timeout=_MAX_CALL_S)

    def _mirror(self) -> None:
        try:
            while not self._stop.wait(self._interval_s):
                self._send()
            if self._has_failed and self._run_id is not None:
                self._ledger.finish_run(self._run_id, is_complete=False)  # until `record_stage` finishes it
        except Exception as exc:  # noqa: BLE001 - an error of the ledger must not end the training
            logger.warning(
                "live metrics of stage '%s' stop: %s The ledger is completed after the stage.",
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
