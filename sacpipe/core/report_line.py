"""Writes a line to stderr for the operator. An unwritable stderr neither ends a process nor delays it."""

import os
import select
import sys
import threading

_MAX_BYTES = 4096
"""Maximum size of a line. A pipe or a terminal that is ready takes so much without waiting."""
_LOCK = threading.Lock()
LAYOUT = "\n\t"
"""Characters that lay out a message of several lines."""


def report_line(text: str) -> bool:
    """Write one line to stderr at once, and return whether it was written. It never raises and never waits.

    A line is lost where stderr is closed, its disk is full, its reader is gone, or its reader is too slow.

    Args:
        text: The message, without a prefix. Line breaks and control characters are escaped.
    """
    try:
        stream = sys.stderr
        line = f"sacpipe: {escape_unprintable(text)}\n"
        if not hasattr(stream, "fileno"):
            stream.write(line)
            return True
        try:
            descriptor = stream.fileno()
        except OSError:  # a stream in memory, which has no descriptor
            stream.write(line)
            return True
        return _write(descriptor, line.encode(errors="backslashreplace"))
    except Exception:  # noqa: BLE001 - closed, full, gone, replaced by any object: a message is never worth a policy
        return False


def escape_unprintable(text: str, kept: str = "") -> str:
    """Return a text whose control characters and line breaks are escaped, so that it controls no terminal.

    Args:
        text: Any text, such as a name that a foreign file states.
        kept: Characters that stay as they are, e.g. the line breaks of a message of several lines.
    """
    return "".join(one if one.isprintable() or one in kept else ascii(one)[1:-1] for one in text)


def _write(descriptor: int, line: bytes) -> bool:
    """Write a line to a descriptor that is ready for it."""
    if len(line) > _MAX_BYTES:
        line = line[: _MAX_BYTES - 4] + b"...\n"
    # Not by the stream: after a failure it would keep the line, and fail again at the end of the process.
    with _LOCK:
        poll = select.poll()
        poll.register(descriptor, select.POLLOUT)
        is_ready = any(events & select.POLLOUT for _, events in poll.poll(0))
        return is_ready and os.write(descriptor, line) == len(line)
