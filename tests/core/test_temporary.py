"""What a kill leaves of a write goes with the next write of the same target; what a live writer has, stays."""

import fcntl
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from sacpipe.core.files import write_bytes
from sacpipe.core.temporary import remove_killed, temporary_file, temporary_folder

WRITER = """
import pathlib, sys
from sacpipe.core.temporary import {kind}
with {kind}(pathlib.Path(sys.argv[1])):
    print("open", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """Start a process that is in the middle of writing `target`."""
    started = []

    def start(kind: str) -> subprocess.Popen:
        command = [sys.executable, "-c", WRITER.format(kind=kind), str(tmp_path / "target")]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "open\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("kind", ["temporary_file", "temporary_folder"])
def test_what_a_killed_writer_left_goes_and_what_a_live_one_has_stays(tmp_path, writer, kind):
    killed, live = writer(kind), writer(kind)
    assert len(list(tmp_path.iterdir())) == 2
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    write_bytes(tmp_path / "target", b"new")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert (len(left), left[-1]) == (2, "target")
    live.communicate("")
    assert live.returncode == 0
    write_bytes(tmp_path / "target", b"newer")
    assert [path.name for path in tmp_path.iterdir() if path.is_file() and path.name == "target"] == [
        "target"
    ]


def test_files_that_are_not_of_the_target_stay(tmp_path):
    others = [
        ".target.0123abcd.tmp.bak",
        ".target.0123abc.tmp",
        ".target.json.0123abcd.tmp",
        "target.0123abcd.tmp",
    ]
    others += [".Xtarget.0123abcd.tmp", ".target.0123ABCD.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"")
    (tmp_path / ".target.0123abcd.tmp").write_bytes(b"")
    write_bytes(tmp_path / "target", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "target"])


def test_a_name_with_signs_of_a_pattern_is_taken_as_it_is(tmp_path):
    for name in (".a[1].0123abcd.tmp", ".a1.0123abcd.tmp"):
        (tmp_path / name).write_bytes(b"")
    write_bytes(tmp_path / "a[1]", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a1.0123abcd.tmp", "a[1]"]


def test_a_pipe_or_a_link_of_that_name_holds_up_no_write_and_no_linked_file_goes(tmp_path):
    os.mkfifo(tmp_path / ".target.00000000.tmp")
    (tmp_path / "kept").write_bytes(b"kept")
    (tmp_path / ".target.11111111.tmp").symlink_to(tmp_path / "kept")
    write_bytes(tmp_path / "target", b"new")
    assert (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "kept").read_bytes() == b"kept"


def test_a_file_that_another_writer_removed_before_it_was_locked_is_made_anew(tmp_path, monkeypatch):
    """The lock of the first file is where the other writer comes first."""
    removed, lock = [], fcntl.flock

    def late(file, operation):
        if not removed:
            removed.extend(tmp_path.iterdir())
            removed[0].unlink()
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with temporary_file(tmp_path / "target") as (file, temporary):
        file.write(b"new")
        assert [temporary] == list(tmp_path.iterdir()) != removed


def test_a_file_system_without_locks_is_written_and_keeps_leftovers(tmp_path, monkeypatch):
    def refuse(file, operation):
        raise OSError(95, "not supported")

    monkeypatch.setattr(fcntl, "flock", refuse)
    (tmp_path / ".target.0123abcd.tmp").write_bytes(b"")
    write_bytes(tmp_path / "target", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".target.0123abcd.tmp", "target"]


def test_a_folder_that_cannot_be_listed_is_no_fault(tmp_path):
    remove_killed(tmp_path / "missing" / "target")


def eight_threads(write):
    """Call it in eight threads at once that change places often; an error of one is raised here."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(write, range(8)))
    finally:
        sys.setswitchinterval(before)


def test_threads_that_write_one_target_at_once_all_succeed(tmp_path):
    """A write removes no file of another thread: each has a lock of its own."""

    def write(number):
        for _ in range(100):
            write_bytes(tmp_path / "target", bytes([number]) * 1000)

    eight_threads(write)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert len(set((tmp_path / "target").read_bytes())) == 1


def test_threads_that_write_one_folder_at_once_all_succeed(tmp_path):
    def write(_number):
        for _ in range(100):
            with temporary_folder(tmp_path / "target") as folder:
                (folder / "part").write_bytes(b"whole")
                assert [path.name for path in folder.iterdir()] == ["part"]

    eight_threads(write)
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_neither_file_nor_folder(tmp_path):
    with pytest.raises(KeyError), temporary_file(tmp_path / "target"):
        raise KeyError
    with pytest.raises(KeyError), temporary_folder(tmp_path / "target") as folder:
        (folder / "part").write_bytes(b"")
        raise KeyError
    assert list(tmp_path.iterdir()) == []
