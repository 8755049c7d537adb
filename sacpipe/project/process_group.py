"""Run a command in its own process group, pass its lines on, and leave no process of the group running.

DVC ignores SIGINT while a stage runs and does not pass SIGTERM on. So the whole group is stopped: SIGTERM
to all, time to write a checkpoint, then SIGKILL. Where this process's stderr is a terminal, the command may
write to it itself, so that progress bars work.
"""

import contextlib
import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Source = Literal["stdout", "stderr", "answer"]
OnLine = Callable[[Source, str], None]

ANSWER = "SACPIPE_ANSWER"
"""Variable with the number of the descriptor whose lines have the source `answer`."""
_CHUNK_BYTES = 1 << 16
_POLL_S = 0.25
_DEATH_S = 5.0
_LINE_ENDS = re.compile(rb"[\r\n]+")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
"""Colours and movements of the cursor."""
_AFTER_A_BAR = b"\r\x1b[K\x1b[?25h"
"""Clears the line of a progress bar whose process was killed, and shows the cursor again."""


@dataclass
class _Stream:
    """One output of the command, cut into lines."""

    source: Source
    descriptor: int
    on_line: OnLine
    rest: bytes = b""

    def feed(self) -> bool:
        """Read the available bytes; return False once the stream has ended."""
        data = os.read(self.descriptor, _CHUNK_BYTES)
        *lines, self.rest = _LINE_ENDS.split(self.rest + (data or b"\n"))
        for line in lines:
            if text := _ESCAPES.sub("", line.decode(errors="replace")).rstrip():
                self.on_line(self.source, text)
        return bool(data)


@dataclass(frozen=True)
class Receiver:
    """Gets what a command writes."""

    on_line: OnLine
    """Called with each line, without colours, in the thread of `run_group`."""
    terminal: bool = True
    """Whether the command writes to stderr itself where that is a terminal; its lines then get lost."""


def run_group(
    command: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    receiver: Receiver,
    timeout_s: float | None = None,
    grace_s: float = 30.0,
) -> int:
    """Run a command to its end and return its exit status (negative: the signal that ended it).

    Args:
        command: Program and arguments; no shell.
        folder: Working folder of the command.
        environment: All environment variables of the command.
        receiver: Gets the lines.
        timeout_s: Seconds until the group is stopped, or None for no limit.
        grace_s: Seconds that the group may take to end after SIGTERM.

    Raises:
        TimeoutError: it took longer than `timeout_s`; the whole group has ended.
        KeyboardInterrupt: Ctrl-C; the whole group has ended.
        OSError: the program cannot be started.
    """
    child, streams = _start(command, folder, environment, receiver)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    ended = False
    try:
        ended = _pump(streams, deadline, child) and _wait(child, deadline)
        if child.poll() is None:
            raise TimeoutError(f"{command[0]} took longer than {timeout_s:g} s")
        return child.returncode
    finally:
        try:
            if not ended:
                _stop(child, streams, grace_s)
        finally:
            for stream in streams:
                os.close(stream.descriptor)
            if child.returncode != 0 and receiver.terminal and os.isatty(2):
                with contextlib.suppress(OSError):
                    os.write(2, _AFTER_A_BAR)


def _start(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], receiver: Receiver
) -> tuple[subprocess.Popen[bytes], list[_Stream]]:
    sources: tuple[Source, ...] = ("stdout", "answer", "stderr")
    if receiver.terminal and os.isatty(2):
        sources = ("stdout", "answer")
    pipes = {source: os.pipe() for source in sources}
    try:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env={**environment, ANSWER: str(pipes["answer"][1])},
            stdin=subprocess.DEVNULL,
            stdout=pipes["stdout"][1],
            stderr=pipes["stderr"][1] if "stderr" in pipes else None,
            pass_fds=(pipes["answer"][1],),
            start_new_session=True,
        )
    except BaseException:
        for read, _ in pipes.values():
            os.close(read)
        raise
    finally:
        for _, write in pipes.values():
            os.close(write)
    return child, [_Stream(source, read, receiver.on_line) for source, (read, _) in pipes.items()]


def _pump(
    streams: Sequence[_Stream], deadline: float | None, child: subprocess.Popen[bytes] | None = None
) -> bool:
    """Pass lines on; return whether every stream ended.

    Every process of the group holds the streams open, so the streams end when the whole group has ended.
    False means that the deadline passed, or that `child` ended and left a process that writes nothing.
    """
    with selectors.DefaultSelector() as selector:
        for stream in streams:
            selector.register(stream.descriptor, selectors.EVENT_READ, stream)
        while selector.get_map():
            ready = selector.select(_POLL_S)
            for key, _ in ready:
                if not key.data.feed():
                    selector.unregister(key.fd)
            if not ready and child is not None and child.poll() is not None:
                return False
            if deadline is not None and time.monotonic() > deadline:
                return False
    return True


def _wait(child: subprocess.Popen[bytes], deadline: float | None) -> bool:
    """Wait for a command that has closed its outputs; return whether it ended in time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
    return child.returncode is not None


def _stop(child: subprocess.Popen[bytes], streams: Sequence[_Stream], grace_s: float) -> None:
    """End the group. A second Ctrl-C ends it at once, without the rest of `grace_s`."""
    try:
        _signal(child, signal.SIGTERM)
        _pump(streams, time.monotonic() + grace_s)
    finally:
        _signal(child, signal.SIGKILL)
        _pump(streams, time.monotonic() + _DEATH_S)
        child.wait()


def _signal(child: subprocess.Popen[bytes], number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, number)
