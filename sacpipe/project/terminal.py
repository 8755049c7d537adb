"""Lines for the operator while stages run, and SIGTERM as an interruption of the stages.

Used by the commands that run stages.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_DVC_LINES = (
    "Running stage",
    "> python",
    "Generating lock file",
    "Updating lock file",
    "To track the changes",
    "git add",
    "To enable auto staging",
    "dvc config",
    "Use `dvc push`",
    "Stage '",
    "Data and pipelines are up to date",
)


def write_line(line: str) -> None:
    """Write one line to stderr and flush it. stdout is for the result."""
    sys.stderr.write(line.rstrip("\n") + "\n")
    sys.stderr.flush()


class StageOutput:
    """Writes a stage's lines without DVC's own, and none after an error message: the command ends with it."""

    def __init__(self) -> None:
        self._failed = False

    def __call__(self, line: str) -> None:
        """Write one line, unless it is DVC's or follows an error message."""
        self._failed = self._failed or line.startswith("sacpipe: ")
        if line.strip() and not self._failed and not line.lstrip().startswith(_DVC_LINES):
            write_line(line)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the running stage writes its checkpoint and ends."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
