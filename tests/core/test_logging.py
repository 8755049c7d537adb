"""What the operator reads on stderr, by people's terminals and by journald; an event is written or lost, and never waits."""

import contextlib
import io
import logging
import os
import pty
import socket
import subprocess
import sys
import threading

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.core.logging import LAYOUT, escape_unprintable, log_to_stderr, operator, report_line


def test_a_line_has_the_prefix_and_no_control_character(capsys):
    report_line("a\nb\x1b[2Jc\u2028d \udcff é")
    assert capsys.readouterr().err == "sacpipe: a\\nb\\x1b[2Jc\\u2028d \\udcff é\n"


def test_a_commands_progress_is_bare_and_its_error_has_the_prefix(capsys):
    operator.info("train: ran \x1b[1mbold\xa0\n")
    operator.error(ConfigError("bad\n  seed\x07"))
    log_to_stderr()
    logging.getLogger("sacpipe.training").warning("torn \x1b[2J of %s", "a")
    expected = "train: ran \x1b[1mbold\xa0\nsacpipe: bad\n  seed\\x07\ntorn \\x1b[2J of a\n"
    assert capsys.readouterr().err == expected


def test_no_library_silences_messages():
    """In a process of its own: the configuration disables every logger that is there."""
    code = (
        "import logging.config; from sacpipe.core.logging import operator, report_line;"
        "logging.config.dictConfig({'version': 1}); logging.disable(logging.CRITICAL);"
        "operator.info('ran'); report_line('serving'); operator.error('bad')"
    )
    seen = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert seen.stderr == "ran\nsacpipe: serving\nsacpipe: bad\n"


def test_a_notebooks_stream_gets_the_message_whatever_descriptor_it_names(monkeypatch):
    stream = io.StringIO()
    notebook = type("Stream", (), {"write": lambda _, text: stream.write(text), "fileno": lambda _: 2})()
    monkeypatch.setattr(sys, "stderr", notebook)
    operator.info("ran")
    report_line("serving")
    assert stream.getvalue() == "ran\nsacpipe: serving\n"


def test_journald_gets_the_priority_of_each_line(monkeypatch):
    with stderr_is_pipe() as (reader, writer):
        status = os.fstat(writer.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        operator.info("ran")
        report_line("serving")
        operator.error("bad\nseed")
        log_to_stderr()
        logging.getLogger("sacpipe.server").warning("slow")
        assert (
            os.read(reader.fileno(), 4096)
            == b"<6>ran\n<6>sacpipe: serving\n<3>sacpipe: bad\n<3>seed\n<4>slow\n"
        )
        monkeypatch.setenv(
            "JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}"
        )  # another process's stderr
        operator.info("ran")
        assert os.read(reader.fileno(), 4096) == b"ran\n"


def test_an_error_is_coloured_on_a_terminal_only_and_not_against_the_operators_wish(monkeypatch):
    own, others = pty.openpty()
    with os.fdopen(others, "w") as writer, contextlib.redirect_stderr(writer):
        operator.error("bad")
        monkeypatch.setenv("NO_COLOR", "1")
        operator.error("bad")
        seen = b""
        while seen.count(b"\n") < 2:  # a terminal may hand over each line by itself
            seen += os.read(own, 1000)
        assert seen == b"\x1b[31msacpipe:\x1b[0m bad\r\nsacpipe: bad\r\n"
    os.close(own)


def test_a_message_that_ends_a_command_waits_for_a_slow_reader_and_is_whole():
    with stderr_is_pipe() as (reader, writer):
        fill(writer.fileno())
        thread = threading.Thread(target=operator.error, args=("y" * 10_000,))
        thread.start()
        data = b""
        while not data.endswith(b"y\n"):
            data += os.read(reader.fileno(), 1 << 16)
        thread.join()
        assert data.lstrip(b"x") == b"sacpipe: " + b"y" * 10_000 + b"\n"


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
    report_line("lost")


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
        report_line("lost")
        assert set(os.read(reader.fileno(), 1 << 17)) == set(b"x")
        report_line("again")
        assert os.read(reader.fileno(), 4096) == b"sacpipe: again\n"


def test_a_pipe_without_a_reader_loses_the_line(monkeypatch):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as writer:
        monkeypatch.setattr(sys, "stderr", writer)
        report_line("lost")


def test_a_socket_whose_peer_does_not_read_loses_the_line(monkeypatch):
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("w") as writer:
        fill(ours.fileno())
        monkeypatch.setattr(sys, "stderr", writer)
        report_line("lost")


def test_a_line_is_shortened_to_what_a_pipe_takes_without_waiting():
    with stderr_is_pipe() as (reader, _):
        report_line("x" * 10_000)
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
        "from sacpipe.core.logging import report_line; import sys, time; time.sleep(0.05)\n"
        "report_line('lost'); sys.exit(7)"
    )
    command = f'{sys.executable} -c "{code}" {redirection}'
    assert subprocess.run(["bash", "-c", command], check=False).returncode == 7
