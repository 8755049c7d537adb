"""What the operator reads on stderr: standard loggers, one handler, formats for people and for journald.

`operator` has the messages of commands and stages: INFO is a line of progress, and an error begins with
`sacpipe: `. `report_line` has the events of a robot or a server. Other modules log under their own names. An
unwritable stderr never ends a process, and only a message of `operator` waits for a slow reader.
"""

import io
import logging
import os
import select
import sys

LAYOUT = "\n\t"
"""Characters that lay out a message of several lines."""
_PREFIX = "sacpipe: "
_MAX_BYTES = 4096
"""Maximum size of a line. A pipe or a terminal that is ready takes so much without waiting."""
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (0, 7))
"""Priorities of sd-daemon(3) by the lowest level that has each."""

operator = logging.Logger("sacpipe.operator", logging.INFO)
_events = logging.Logger("sacpipe.events", logging.INFO)


class PeopleFormatter(logging.Formatter):
    """The message, with its prefix, and without characters that control a terminal."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._prefix = f"\x1b[31m{_PREFIX.rstrip()}\x1b[0m " if coloured else _PREFIX

    def format(self, record: logging.LogRecord) -> str:
        """Return the text, without its last line break."""
        text = super().format(record).rstrip("\n")
        if record.name == operator.name and record.levelno <= logging.INFO:
            return text  # a line of a stage as well
        has_prefix = record.name in (operator.name, _events.name)
        return (self._prefix if has_prefix else "") + escape_unprintable(text, kept=LAYOUT)


class JournalFormatter(PeopleFormatter):
    """The same text with a priority before each line, which journald reads and removes."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the lines."""
        priority = next(number for level, number in _PRIORITIES if record.levelno >= level)
        return "\n".join(f"<{priority}>{line}" for line in super().format(record).split("\n"))


class StderrHandler(logging.Handler):
    """Writes to the stderr that this process has at the moment; a message that cannot be written is lost."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one message; it never raises."""
        try:
            stream = sys.stderr
            descriptor = _descriptor(stream)
            if descriptor is None:
                stream.write(PeopleFormatter(coloured=False).format(record) + "\n")
                return
            waits = record.name == operator.name
            for line in _formatter(descriptor).format(record).split("\n"):
                if not _write(descriptor, line.encode(errors="backslashreplace") + b"\n", waits=waits):
                    return
        except Exception:  # noqa: BLE001 - closed, full, gone, replaced by any object: a message is never worth a policy
            return


_HANDLER = StderrHandler()
for _logger in (operator, _events):
    _logger.manager = logging.Manager(logging.root)  # no library that configures logging finds or disables it
    _logger.addHandler(_HANDLER)


def log_to_stderr() -> None:
    """Let the warnings of this project go to stderr even where a library configures logging anew."""
    for name in ("pipelines", "sacpipe"):
        logging.getLogger(name).addHandler(_HANDLER)


def report_line(text: str) -> None:
    """Write an event to stderr in one line. It never raises and never waits.

    A line is lost where stderr is closed, its disk is full, its reader is gone, or its reader is too slow.

    Args:
        text: The message, without a prefix. Line breaks and control characters are escaped.
    """
    _events.info("%s", escape_unprintable(text))


def escape_unprintable(text: str, kept: str = "") -> str:
    """Return a text whose control characters and line breaks are escaped, so that it controls no terminal.

    Args:
        text: Any text, such as a name that a foreign file states.
        kept: Characters that stay as they are, e.g. the line breaks of a message of several lines.
    """
    return "".join(one if one.isprintable() or one in kept else ascii(one)[1:-1] for one in text)


def _descriptor(stream: object) -> int | None:
    """Return the descriptor of a file or a terminal; None of a stream in memory or a notebook's."""
    try:
        return stream.fileno() if isinstance(stream, io.TextIOWrapper) else None
    except OSError:
        return None


def _formatter(descriptor: int) -> logging.Formatter:
    status = os.fstat(descriptor)
    if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
        return JournalFormatter(coloured=False)
    return PeopleFormatter(coloured=os.isatty(descriptor) and "NO_COLOR" not in os.environ)


def _write(descriptor: int, line: bytes, *, waits: bool) -> bool:
    """Write a line; return whether it was written. Unless it waits, the descriptor must be ready for it."""
    # Not by the stream: after a failure it would keep the line, and fail again at the end of the process.
    if waits:
        while line:
            line = line[os.write(descriptor, line) :]
        return True
    if len(line) > _MAX_BYTES:
        line = line[: _MAX_BYTES - 4] + b"...\n"
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    is_ready = any(events & select.POLLOUT for _, events in poll.poll(0))
    return is_ready and os.write(descriptor, line) == len(line)
