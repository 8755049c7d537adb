"""A command in its own process group: its lines are passed on, and no process outlives the call."""

import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sacpipe.project.process_group import Receiver, run_group

PATIENT = """
import pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("checkpoint").write_text("done"), sys.exit(3)))
print("ready", flush=True)
time.sleep(60)
"""
STUBBORN = """
import os, pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(15, 1); time.sleep(60)"])
pathlib.Path("pids").write_text(f"{os.getpid()} {child.pid}")
print("ready", flush=True)
time.sleep(60)
"""


def python(folder: Path, script: str, **options: object) -> tuple[int, list[tuple[str, str]]]:
    lines: list[tuple[str, str]] = []
    status = run_group(
        [sys.executable, "-c", script],
        folder=folder,
        environment=os.environ,
        receiver=Receiver(lambda source, line: lines.append((source, line))),
        **options,
    )
    return status, lines


def has_ended(number: int) -> bool:
    """A process closes its files a moment before it ends. Wait for that moment and no longer."""
    try:
        descriptor = os.pidfd_open(number)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], 5.0)[0])
    finally:
        os.close(descriptor)


def test_lines_of_both_outputs_and_the_exit_status_come_back(tmp_path: Path) -> None:
    script = "import sys; print('one\\ntwo'); print('\\x1b[31mred\\x1b[0m', file=sys.stderr); sys.exit(7)"
    status, lines = python(tmp_path, script)
    assert status == 7
    assert [line for source, line in lines if source == "stdout"] == ["one", "two"]
    assert [line for source, line in lines if source == "stderr"] == ["red"]


def test_a_last_line_without_an_end_and_a_letter_cut_in_two_are_whole(tmp_path: Path) -> None:
    script = (
        "import os, time; os.write(1, 'caf\\u00e9'.encode()[:-1]); time.sleep(0.1);"
        "os.write(1, 'caf\\u00e9'.encode()[-1:])"
    )
    assert python(tmp_path, script) == (0, [("stdout", "café")])


def test_a_signal_is_reported_as_a_negative_status(tmp_path: Path) -> None:
    assert python(tmp_path, "import os; os.kill(os.getpid(), 9)")[0] == -9


@pytest.mark.slow
def test_a_command_that_takes_too_long_may_write_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TimeoutError, match="longer than 1 s"):
        python(tmp_path, PATIENT, timeout_s=1.0, grace_s=20.0)
    assert (tmp_path / "checkpoint").read_text() == "done"


@pytest.mark.slow
def test_a_group_that_ignores_sigterm_is_killed_after_the_grace(tmp_path: Path) -> None:
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        python(tmp_path, STUBBORN, timeout_s=1.0, grace_s=0.5)
    assert time.monotonic() - begin < 15
    pids = [int(text) for text in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert all(has_ended(number) for number in pids)


def test_ctrl_c_stops_the_group_and_goes_on(tmp_path: Path) -> None:
    def interrupt(_source: str, line: str) -> None:
        if line == "ready":
            raise KeyboardInterrupt

    command = [sys.executable, "-c", PATIENT]
    with pytest.raises(KeyboardInterrupt):
        run_group(
            command, folder=tmp_path, environment=os.environ, receiver=Receiver(interrupt), grace_s=20.0
        )
    assert (tmp_path / "checkpoint").read_text() == "done"


@pytest.mark.slow
def test_what_a_dead_leader_left_running_is_stopped_too(tmp_path: Path) -> None:
    script = (
        "import subprocess, sys, pathlib;"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']);"
        "pathlib.Path('pid').write_text(str(child.pid))"
    )
    status, _ = python(tmp_path, script, grace_s=5.0)
    assert status == 0
    assert has_ended(int((tmp_path / "pid").read_text()))


def test_an_answer_has_a_descriptor_of_its_own_that_no_program_of_the_command_gets(tmp_path: Path) -> None:
    script = (
        "import os, subprocess, sys; number = int(os.environ['SACPIPE_ANSWER']); os.write(number, b'{}\\n');"
        "print('out'); sys.stdout.flush();"
        "subprocess.run([sys.executable, '-c', f'import os; os.write({number}, bytes(1))'], stderr=-3)"
    )
    assert sorted(python(tmp_path, script)[1]) == [("answer", "{}"), ("stdout", "out")]


BAR = r"\x1b[?25l\rtrain 1%"
OUTER = """
import os, pathlib, sys
from sacpipe.project.process_group import Receiver, run_group
kept = []
run_group([sys.executable, '-c', {inner!r}], folder=pathlib.Path('.'), environment=os.environ,
    receiver=Receiver(lambda *item: kept.append(item), {terminal}))
print(kept)
"""


@pytest.mark.parametrize(
    ("ending", "terminal", "shown", "kept"),
    [
        ("", True, b"\x1b[?25l\rtrain 1%True", "[]"),
        ("os.kill(os.getpid(), 9)", True, b"\x1b[?25l\rtrain 1%True\r\x1b[K\x1b[?25h", "[]"),
        ("os.kill(os.getpid(), 9)", False, b"", "[('stderr', 'train 1%False')]"),
    ],
    ids=["bar", "killed", "silent"],
)
def test_a_command_writes_to_the_terminal_itself(
    ending: str, terminal: bool, shown: bytes, kept: str
) -> None:
    """And after its end the cursor is there again, at the begin of a line."""
    inner = f"import os, sys; sys.stderr.write(f'{BAR}{{sys.stderr.isatty()}}'); sys.stderr.flush(); {ending}"
    own, others = pty.openpty()
    result = subprocess.run(
        [sys.executable, "-c", OUTER.format(inner=inner, terminal=terminal)],
        stdout=subprocess.PIPE,
        stderr=others,
        text=True,
        check=True,
        timeout=60,
    )
    os.write(others, b".")
    seen = b""
    while not seen.endswith(b"."):
        seen += os.read(own, 1000)
    assert seen == shown + b"."
    os.close(own)
    os.close(others)
    assert result.stdout.strip() == kept
