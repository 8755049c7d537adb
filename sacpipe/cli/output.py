"""stdout belongs to the command: its result alone is written there, and foreign prints go to stderr.

A task, a simulator or a library may print when it is imported, built, stepped or closed, by Python or by C,
and would spoil a params.yaml or a JSON text. So the descriptor of stdout leads to stderr while a command
works, and `write_output` alone knows where stdout was. Child processes inherit the same.
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from sacpipe.core.errors import StorageError
from sacpipe.core.files import storage_errors

_STDOUT, _STDERR = 1, 2

Sink = tuple[int, str, str] | TextIO
"""The place of the results: descriptor, encoding and error handler; or a stream without a descriptor."""

_sinks: list[Sink] = []
"""The sink of the command that works; empty outside a command."""


def write_output(text: str) -> None:
    """Write a part of the command's result to stdout, at once.

    Raises:
        BrokenPipeError: the reader is gone.
        StorageError: stdout leads to a file that cannot be written, e.g. on a full disk.
    """
    sink: Sink = _sinks[-1] if _sinks else sys.stdout
    if not isinstance(sink, tuple):
        sink.write(text)
        return
    descriptor, encoding, errors = sink
    data = memoryview(text.encode(encoding, errors))
    try:
        with storage_errors(Path("/dev/stdout")):
            while data:
                data = data[os.write(descriptor, data) :]
    except StorageError as exc:
        if isinstance(exc.__cause__, BrokenPipeError):
            raise exc.__cause__ from None
        raise


@contextlib.contextmanager
def own_stdout(*, until_exit: bool) -> Iterator[None]:
    """Keep stdout for `write_output`; what anything else writes to it goes to stderr.

    Args:
        until_exit: Leave it so at the end, because simulators print in exit handlers too. Otherwise stdout
            is again what it was.
    """
    stream = sys.stdout
    saved = os.dup(_STDOUT)
    _sinks.append(_sink(stream, saved))
    try:
        os.dup2(_STDERR, _STDOUT)
        sys.stdout = sys.stderr
        yield
    finally:
        if not until_exit:
            _flush_foreign()
            sys.stdout = stream
            _sinks.pop()
            os.dup2(saved, _STDOUT)
            os.close(saved)


def _sink(stream: TextIO, saved: int) -> Sink:
    """Return the place of the results: the duplicate of stdout's descriptor where the stream uses that."""
    try:
        uses_descriptor = stream.fileno() == _STDOUT
    except (OSError, ValueError):  # a stream in memory, e.g. a notebook's
        uses_descriptor = False
    if not uses_descriptor:
        return stream
    stream.flush()
    return saved, stream.encoding, stream.errors or "strict"


def _flush_foreign() -> None:
    """Write what Python and C have buffered for the old stdout, while it still leads to stderr."""
    for stream in (sys.stderr, sys.__stdout__):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    ctypes.CDLL(None).fflush(None)
