"""A line for the operator is written, or lost; it never raises and never waits."""

import contextlib
import io
import os
import socket
import subprocess
import sys
import threading

import pytest

from sacpipe.core.report_line import LAYOUT, escape_unprintable, report_line


def test_a_line_has_the_prefix_and_no_control_character(capsys):
    assert report_line("a\nb\x1b[2Jc\u2028d \udcff é")
    assert capsys.readouterr().err == "sacpipe: a\\nb\\x1b[2Jc\\u2028d \\udcff é\n"


def test_a_message_of_several_lines_keeps_its_layout_only():
    assert escape_unprintable("a\n\tb\r\x07", kept=LAYOUT) == "a\n\tb\\r\\x07"


class Raises:
    def __init__(self, error):
        self.error = error

    def write(self, _):
        raise self.error

    def fileno(self):
        raise self.error


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize(
    "stream",
    [None, closed(), object(), Raises(ValueError()), Raises(RuntimeError()), Raises(OSError(28, "full"))],
    ids=["none", "closed", "no stream", "value error", "foreign error", "full disk"],
)
def test_a_stream_that_fails_loses_the_line(monkeypatch, stream):
    monkeypatch.setattr(sys, "stderr", stream)
    assert not report_line("lost")


@contextlib.contextmanager
def stderr_is_pipe():
    """Not a fixture: between a fixture and its test, pytest puts its own stderr back."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "w") as writer, contextlib.redirect_stderr(writer):
        yield reader, writer


def fill(descriptor):
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(descriptor, True)


def test_a_full_pipe_loses_the_line_at_once_and_takes_lines_again_later():
    with stderr_is_pipe() as (reader, writer):
        fill(writer.fileno())
        assert not report_line("lost")
        os.read(reader.fileno(), 1 << 16)
        assert report_line("again")
        assert os.read(reader.fileno(), 4096) == b"sacpipe: again\n"


def test_a_pipe_without_a_reader_loses_the_line(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as writer:
        monkeypatch.setattr(sys, "stderr", writer)
        assert not report_line("lost")


def test_a_socket_whose_peer_does_not_read_loses_the_line(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("w") as writer:
        fill(ours.fileno())
        monkeypatch.setattr(sys, "stderr", writer)
        assert not report_line("lost")


def test_a_line_is_shortened_to_what_a_pipe_takes_without_waiting():
    with stderr_is_pipe() as (reader, _):
        assert report_line("x" * 10_000)
        assert os.read(reader.fileno(), 1 << 16) == b"sacpipe: " + b"x" * (4096 - 9 - 4) + b"...\n"


def test_lines_of_many_threads_stay_whole():
    with stderr_is_pipe() as (reader, _):
        threads = [threading.Thread(target=report_line, args=(str(number) * 500,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = os.read(reader.fileno(), 1 << 16).decode().splitlines()
        assert sorted(lines) == [f"sacpipe: {str(number) * 500}" for number in range(8)]


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full", "2> >(exec 0<&-; sleep 0)"])
def test_a_process_ends_with_its_own_exit_code(redirection):
    code = (
        "from sacpipe.core.report_line import report_line; import sys, time; time.sleep(0.05)\n"
        "report_line('lost'); sys.exit(7)"
    )
    command = f'{sys.executable} -c "{code}" {redirection}'
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 7
