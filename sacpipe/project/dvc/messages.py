"""The messages of DVC and of its stages, turned into errors that an operator can act on.

DVC prints its own lines around a stage's message ("failed to reproduce") and exits with status 255. Here
the stage's message and exit code are recovered. DVC's own errors get advice.
"""

import os
import re
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sacpipe.core.errors import ConfigError, SacpipeError, StageError, StoreError
from sacpipe.project.process_group import Source
from sacpipe.project.stage import MESSAGE_PREFIX, RETRY_NOTE
from sacpipe.project.terminal_copy import TerminalRules

_TROUBLES = "Having any troubles?"
DVC_LINES = TerminalRules(hidden=("ERROR: ", _TROUBLES))
"""A terminal shows DVC's progress bars. Its errors become one message of ours."""
STAGE_LINES = TerminalRules(hidden=("ERROR: failed to reproduce", _TROUBLES), last=(MESSAGE_PREFIX,))
"""A terminal shows a stage's lines up to its error message, which the command repeats at its end."""

_LINES_KEPT = 400
_LINES_SHOWN = 8
_EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)$")
_DVC_LINE = re.compile(r"^(ERROR|WARNING|INFO): |^Having any troubles\?")
_WRONG_PARAMS = re.compile(r"Parameters '.*' are missing from '.*'|unable to read: '.*")


@dataclass
class CommandOutput:
    """The last lines that a command wrote, and the receiver of its lines."""

    on_output: Callable[[str], None] | None = None
    """Called with each line, except lines of stderr where this process's stderr is a terminal."""
    stdout: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    actions: set[str] = field(default_factory=set)
    """Lines of stdout in which DVC reports what it does with a stage. All of them are kept."""

    def __call__(self, source: Source, line: str) -> None:
        """Keep a line, and pass it on unless the terminal has shown it already."""
        (self.stdout if source == "stdout" else self.stderr).append(line)
        if source == "stdout" and line.startswith(("Running stage ", "Stage ")):
            self.actions.add(line)
        if self.on_output is not None and not (source == "stderr" and os.isatty(2)):
            self.on_output(line)

    @property
    def error_text(self) -> str:
        """DVC's own error, in one line."""
        lines = list(self.stderr) or list(self.stdout)
        start = next((n for n, line in enumerate(lines) if line.startswith("ERROR: ")), 0)
        kept = [line for line in lines[start:] if not line.startswith("Having any troubles?")]
        return " ".join(" ".join(kept).removeprefix("ERROR: ").split()) or "no message"

    def ran(self, stage: str) -> bool:
        """Return whether DVC started the stage's command."""
        return f"Running stage '{stage}':" in self.actions

    def restored(self, stage: str) -> bool:
        """Return whether DVC took the stage's outputs from its cache."""
        return any(line.startswith(f"Stage '{stage}' is cached") for line in self.actions)


def stage_failure(stage: str, output: CommandOutput) -> SacpipeError:
    """Return the error behind a failed `dvc repro`: the stage's own, one of params.yaml, or DVC's."""
    if missing := _WRONG_PARAMS.search(output.error_text):
        return ConfigError(f"{missing[0].rstrip('.')}. `sacpipe params TASK` prints a complete file.")
    match = next((found for line in output.stderr if (found := _EXITED.search(line))), None)
    if match is None:
        return dvc_failure(f"stage '{stage}': `dvc repro`", output)
    status = int(match[1])
    lines = [line for line in output.stderr if not _DVC_LINE.match(line)]
    starts = [n for n, line in enumerate(lines) if line.startswith(MESSAGE_PREFIX)]
    if starts and status in (1, 2, 3):
        message = "\n".join(lines[starts[-1] :]).removeprefix(MESSAGE_PREFIX)
        return stage_error(
            message.removesuffix(RETRY_NOTE), exit_code=status, retryable=message.endswith(RETRY_NOTE)
        )
    shown = "\n".join(lines[-_LINES_SHOWN:]) or "(none)"
    message = f"stage '{stage}' {_ending(status)}. Its last lines:\n{shown}"
    return stage_error(message, exit_code=status if status == 2 else 3, retryable=status not in (1, 2))


def stage_error(message: str, *, retryable: bool, exit_code: int = 3) -> StageError:
    """Return a StageError that carries the stage's own exit code and whether a retry may help."""
    error = StageError(message)
    error.exit_code = exit_code
    error.retryable = retryable
    return error


def _ending(status: int) -> str:
    number = -status if status < 0 else status - 128
    if number == signal.SIGKILL:
        return "was killed (SIGKILL); the machine may be out of memory"
    return f"was ended by signal {number}" if number > 0 else f"failed with exit code {status}"


_ADVICE = {
    "not inside of a DVC repository": "DVC is not set up here: run `dvc init` (`--no-scm` without git).",
    "is not a git repository": "Without git, run `dvc config core.no_scm true`; or work in a clone.",
    "it is being blocked by": "Another dvc process uses the same files. Wait until it ends, or stop it.",
    "Unable to acquire lock": "Another dvc process works in this folder. Wait until it ends, or stop it.",
    "no remote specified": "Set one: `dvc remote add -d local .sacpipe/dvcstore`.",
    "Permission denied": "The remote or the cache cannot be written; `dvc remote list` names it.",
    "Read-only file system": "The remote or the cache cannot be written; `dvc remote list` names it.",
    "No such file or directory": "`dvc remote list` names the remote; its folder cannot be created.",
    "No space left": "The disk is full. Free some space and run the command again.",
    "Checkout failed": "The cache lacks files. `dvc pull` fetches them; `dvc repro` creates them again.",
    "No module named dvc": "DVC is not installed for this Python: install the extra `pipeline`.",
}


def dvc_failure(command: str, output: CommandOutput) -> StoreError:
    """Return DVC's own error with advice, where there is any."""
    text = output.error_text
    advice = next((advice for sign, advice in _ADVICE.items() if sign in text), "")
    return StoreError(f"{command} failed: {text} {advice}".rstrip())
