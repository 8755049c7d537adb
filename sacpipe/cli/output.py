"""stdout belongs to the command: its result alone is written there, and foreign prints go to stderr.

A task, a simulator or a library may print when it is imported, built, stepped or closed, by Python or by C,
and would spoil a params.yaml or a JSON text. So the descriptor of stdout leads to stderr while a command
works, and `write_output` alone knows where stdout was. Child processes inherit the same.
"""

import contextlib
import ctypes
import io
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
    _open_stderr()
    stream = sys.stdout
    saved = _duplicate(_STDOUT)
    _sinks.append(_sink(stream, saved))
    try:
        _lead_stdout_to_stderr()
        sys.stdout = sys.stderr
        yield
    finally:
        if not until_exit:
            _flush_foreign()
            sys.stdout = stream
            _sinks.pop()
            if saved is not None:
                os.dup2(saved, _STDOUT)
                os.close(saved)


def _open_stderr() -> None:
    """Lead a closed stderr nowhere: else libraries fail, and the next opened file gets its descriptor."""
    if sys.stderr is None:
        _lead_nowhere(_STDERR)
        sys.stderr = os.fdopen(_STDERR, "w", encoding="utf-8", closefd=False)


def _sink(stream: TextIO | None, saved: int | None) -> Sink:
    """Return the place of the results: the duplicate of stdout's descriptor where the stream uses that."""
    if stream is None or saved is None:
        return stream or io.StringIO()  # stdout is closed: the results are lost, as everywhere
    try:
        uses_descriptor = stream.fileno() == _STDOUT
    except (OSError, ValueError):  # a stream in memory, e.g. a notebook's
        uses_descriptor = False
    if not uses_descriptor:
        return stream
    stream.flush()
    return saved, stream.encoding, stream.errors or "strict"


def _duplicate(descriptor: int) -> int | None:
    try:
        return os.dup(descriptor)
    except OSError:
        return None


def _lead_stdout_to_stderr() -> None:
    """Let descriptor 1 lead to stderr, or nowhere where a caller has closed that."""
    try:
        os.dup2(_STDERR, _STDOUT)
    except OSError:
        _lead_nowhere(_STDOUT)


def _lead_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    if nowhere == descriptor:
        os.set_inheritable(nowhere, True)
    else:
        os.dup2(nowhere, descriptor)
        os.close(nowhere)


def _flush_foreign() -> None:
    """Write what Python and C have buffered for the old stdout, while it still leads to stderr."""
    for stream in (sys.stderr, sys.__stdout__):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    ctypes.CDLL(None).fflush(None)
