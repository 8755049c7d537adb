"""What DVC and a stage say, and what an operator should read of it.

Floor 2. DVC frames a stage's own message ("failed to reproduce", exit status 255) and words its own
troubles for its developers. Here the first is undone and the second gets advice.
"""

import os
import re
import signal
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from sacpipe.core.errors import ConfigError, SacpipeError, StageError, StoreError
from sacpipe.project.process_group import Source

MESSAGE_PREFIX = "sacpipe: "
"""How a stage begins its one message on stderr, before it exits with the error's own code."""

_LINES_KEPT = 400
_LINES_SHOWN = 8
_EXITED = re.compile(r"failed to run: .*, exited with (-?\d+)$")
_DVC_LINE = re.compile(r"^(ERROR|WARNING|INFO): |^Having any troubles\?")
_WRONG_PARAMS = re.compile(r"Parameters '.*' are missing from '.*'|unable to read: '.*")


@dataclass
class Said:
    """The last lines of a command, and where they go."""

    on_output: Callable[[str], None] | None = None
    stdout: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    stderr: deque[str] = field(default_factory=lambda: deque(maxlen=_LINES_KEPT))
    actions: set[str] = field(default_factory=set)
    """Lines of stdout in which DVC says what it does with a stage, kept whatever follows."""

    def __call__(self, source: Source, line: str) -> None:
        """Take a line; pass it on, unless it went to the terminal already."""
        (self.stdout if source == "stdout" else self.stderr).append(line)
        if source == "stdout" and line.startswith(("Running stage ", "Stage ")):
            self.actions.add(line)
        if self.on_output is not None and not (source == "stderr" and os.isatty(2)):
            self.on_output(line)

    @property
    def complaint(self) -> str:
        """DVC's own error, in one line."""
        lines = list(self.stderr) or list(self.stdout)
        start = next((n for n, line in enumerate(lines) if line.startswith("ERROR: ")), 0)
        kept = [line for line in lines[start:] if not line.startswith("Having any troubles?")]
        return " ".join(" ".join(kept).removeprefix("ERROR: ").split()) or "it said nothing"

    def ran(self, stage: str) -> bool:
        """Return whether DVC started the stage's command."""
        return f"Running stage '{stage}':" in self.actions

    def restored(self, stage: str) -> bool:
        """Return whether DVC took the stage's outputs from its cache instead."""
        return any(line.startswith(f"Stage '{stage}' is cached") for line in self.actions)


def stage_failure(stage: str, said: Said) -> SacpipeError:
    """Return the error behind a failed `dvc repro`: the stage's own, params.yaml's, or DVC's."""
    if missing := _WRONG_PARAMS.search(said.complaint):
        return ConfigError(f"{missing[0].rstrip('.')}. `sacpipe params TASK` prints a complete file.")
    match = next((found for line in said.stderr if (found := _EXITED.search(line))), None)
    if match is None:
        return dvc_failure(f"stage '{stage}': `dvc repro`", said)
    status = int(match[1])
    words = [line for line in said.stderr if not _DVC_LINE.match(line)]
    starts = [n for n, line in enumerate(words) if line.startswith(MESSAGE_PREFIX)]
    if starts and status in (1, 2, 3):
        message = "\n".join(words[starts[-1] :]).removeprefix(MESSAGE_PREFIX)
    else:
        shown = "\n".join(words[-_LINES_SHOWN:]) or "(none)"
        message = f"stage '{stage}' {_ending(status)}. Its last words:\n{shown}"
    return stage_error(message, exit_code=status if status in (1, 2) else 3, retryable=status not in (1, 2))


def stage_error(message: str, *, retryable: bool, exit_code: int = 3) -> StageError:
    """Return a StageError that carries the stage's own exit code and whether trying again may help."""
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
    "it is being blocked by": "Another dvc is at work on the same files. Wait until it ends, or stop it.",
    "Unable to acquire lock": "Another dvc is at work in this folder. Wait until it ends, or stop it.",
    "no remote specified": "Set one: `dvc remote add -d local .sacpipe/dvcstore`.",
    "Permission denied": "The remote or the cache cannot be written; `dvc remote list` names it.",
    "Read-only file system": "The remote or the cache cannot be written; `dvc remote list` names it.",
    "No such file or directory": "`dvc remote list` names the remote; its folder cannot be made.",
    "No space left": "The disk is full. Free some space and run the command again.",
    "Checkout failed": "The cache lacks files. `dvc pull` fetches them; `dvc repro` makes them again.",
    "No module named dvc": "DVC is not installed beside this Python: install the extra `pipeline`.",
}


def dvc_failure(what: str, said: Said) -> StoreError:
    """Return DVC's own complaint with what to do about it."""
    complaint = said.complaint
    advice = next((advice for sign, advice in _ADVICE.items() if sign in complaint), "")
    return StoreError(f"{what} failed: {complaint} {advice}".rstrip())
