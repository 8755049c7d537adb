"""Lines for the operator while a command works, and SIGTERM as an interruption of it."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from sacpipe.core.logging import operator


def write_line(line: str) -> None:
    """Write one line of progress to stderr. stdout is for the result."""
    operator.info(line)


class StageOutput:
    """Writes a stage's lines."""

    def __call__(self, line: str) -> None:
        """Write one line."""
        write_line(line)


@contextlib.contextmanager
def termination_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM like Ctrl-C: a running stage writes its checkpoint, and no child process is left.

    In another thread than the main one, where Python takes no handler, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
