"""The errors of a stage and of DVC, as the operator reads them."""

import json
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sacpipe.core.errors import ConfigError, SacpipeError, StageError, StoreError
from sacpipe.project.process_group import Source

_LINES_SHOWN = 8


@dataclass
class Answer:
    """What DVC's child process answered, and the last lines that were written to stderr beside it."""

    on_output: Callable[[str], None] | None = None
    """Called with each line of a stage."""
    fields: dict[str, Any] = field(default_factory=dict)
    """See sacpipe/project/dvc/child.py; empty where the process was killed before it answered."""
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_SHOWN))
    """Empty where stderr is a terminal, which has shown them."""

    def __call__(self, source: Source, line: str) -> None:
        """Keep a line of the answer or of stderr, and pass the stage's lines on."""
        if source == "answer":
            self.fields |= json.loads(line)
            return
        if source == "stderr":
            self.stderr.append(line)
        if self.on_output is not None:
            self.on_output(line)

    @property
    def message(self) -> str:
        """DVC's own error."""
        last = self.stderr[-1] if self.stderr else "no message"
        return str(self.fields.get("message", f"its process ended without an answer: {last}"))

    def failure(self, command: str) -> SacpipeError:
        """Return DVC's error with advice, where there is any."""
        if self.fields.get("error") == "params":
            return ConfigError(f"{self.message.rstrip('.')}. `sacpipe params TASK` prints a complete file.")
        return StoreError(f"{command} failed: {self.message} {self.fields.get('advice', '')}".rstrip())

    def stage_failure(self, stage: str, reported: bytes) -> SacpipeError:
        """Return the error behind a failed stage.

        Args:
            stage: Its name.
            reported: What the stage wrote into the file that `ERROR_FILE` names; empty where it was killed.
        """
        status = self.fields.get("status")
        if self.fields.get("error") != "stage":
            return self.failure(f"stage '{stage}': `dvc repro`")
        if reported:
            return StageError(**json.loads(reported))
        message = f"stage '{stage}' {_ending(status)}."
        if self.stderr:
            message += " Its last lines:\n" + "\n".join(self.stderr)
        return StageError(message, exit_code=status if status == 2 else 3, retryable=status not in (1, 2))


def _ending(status: int | None) -> str:
    if status is None:
        return "failed"
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL:
        return "was killed (SIGKILL); the machine may be out of memory"
    return f"was ended by signal {number}" if number > 0 else f"failed with exit code {status}"
