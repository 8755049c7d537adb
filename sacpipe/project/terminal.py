"""What the operator at the terminal reads while stages run, and how a request to stop reaches them.

Floor 5. Shared by the commands that run stages.
"""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType

_DVC_FRAME = (
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


def say(line: str) -> None:
    """Write one line to stderr at once: stdout is for the result."""
    sys.stderr.write(line.rstrip("\n") + "\n")
    sys.stderr.flush()


class StageVoice:
    """Passes on what a stage says, without DVC's frame; an error is told once, at the end."""

    def __init__(self) -> None:
        self._failed = False

    def __call__(self, line: str) -> None:
        """Take one line."""
        self._failed = self._failed or line.startswith("sacpipe: ")
        if line.strip() and not self._failed and not line.lstrip().startswith(_DVC_FRAME):
            say(line)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C, so that the stage under way is ended in good order."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
