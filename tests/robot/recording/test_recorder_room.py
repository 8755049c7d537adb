"""Without room on the disk nothing is recorded and the robot goes on; with room again, recording resumes."""

import os
import resource
import shutil
import signal
import time

import pytest
from test_recorder import SETTINGS, Loop

from sacpipe.core.errors import StorageError
from sacpipe.robot.recording import recorder as recorder_module
from sacpipe.robot.recording.folder import RecordingsFolder
from sacpipe.robot.recording.format import Recording, read_header
from sacpipe.robot.recording.writer import RecordingWriter

FLOOR = 1 << 20


class Disk:
    """The free space that the recorder sees."""

    def __init__(self, monkeypatch):
        self.free_bytes = FLOOR * 10
        real = os.statvfs
        monkeypatch.setattr(os, "statvfs", lambda path: self.seen(real(path)))

    def seen(self, real):
        fields = list(real)
        fields[1], fields[4] = 1, self.free_bytes  # f_frsize, f_bavail
        return os.statvfs_result(fields)


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(recorder_module, "_RETRY_S", 0.01)
    return Disk(monkeypatch)


@pytest.fixture
def loop(bundles, tmp_path, disk):
    loop = Loop(bundles[0], tmp_path / "seen", SETTINGS.replace(min_free_bytes=FLOOR))
    yield loop
    if loop.recorder._thread.is_alive():
        loop.recorder.close()


def step_until(loop, is_so):
    end_s = time.monotonic() + 10.0
    while not is_so(loop.recorder.status):
        assert loop.step(0.5, 0.0, 0.0).verdict == "ok"
        time.sleep(0.001)
        assert time.monotonic() < end_s


def transitions(loop):
    return [Recording.open(path).check().transitions for path in sorted(loop.folder.glob("recording-*"))]


def test_below_the_floor_recording_pauses_and_resumes_well_above_it(loop, disk):
    step_until(loop, lambda status: status.transitions > 3)
    disk.free_bytes = FLOOR - 1
    step_until(loop, lambda status: status.failure is not None)
    status = loop.recorder.status
    assert f"bytes of free space, found {FLOOR - 1}. Recording is paused" in status.failure
    assert status.pauses == 1
    (first,) = loop.folder.glob("recording-*")
    step_until(loop, lambda status: status.dropped > 50 and read_header(first).seal is not None)
    assert Recording.open(first).check().transitions == status.transitions  # closed, with all it got
    disk.free_bytes = FLOOR + 1  # above the floor, but not by a quarter
    dropped = status.dropped
    step_until(loop, lambda status: status.dropped > dropped + 50)
    assert loop.recorder.status.failure is not None
    disk.free_bytes = FLOOR * 5 // 4
    step_until(loop, lambda now: now.failure is None and now.transitions > status.transitions + 3)
    loop.recorder.close()
    status = loop.recorder.status
    assert (status.pauses, status.recordings) == (1, 2)
    assert sum(transitions(loop)) == status.transitions


def test_a_disk_without_room_at_the_start_does_not_keep_a_robot_from_starting(loop, disk, bundles, tmp_path):
    disk.free_bytes = 0
    other = Loop(bundles[0], tmp_path / "other", SETTINGS.replace(min_free_bytes=FLOOR))
    step_until(other, lambda status: status.failure is not None)
    disk.free_bytes = FLOOR * 2
    step_until(other, lambda status: status.transitions > 3)
    other.recorder.close()
    assert other.recorder.status.pauses == 1


class FileSizeLimit:
    """A real limit of this process: a write beyond it fails, as on a full disk."""

    def __enter__(self):
        self.before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, self.before[1]))

    def __exit__(self, *_):
        resource.setrlimit(resource.RLIMIT_FSIZE, self.before)
        signal.signal(signal.SIGXFSZ, self.handler)


def test_after_a_disk_that_was_really_full_recording_resumes(loop):
    step_until(loop, lambda status: status.transitions > 3)
    with FileSizeLimit():
        step_until(loop, lambda status: status.failure is not None)
        assert "cannot write" in loop.recorder.status.failure
        dropped = loop.recorder.status.dropped
        step_until(loop, lambda status: status.dropped > dropped + 20)
    before = loop.recorder.status.transitions
    step_until(loop, lambda status: status.failure is None and status.transitions > before + 3)
    loop.recorder.close()
    status = loop.recorder.status
    assert (status.pauses, status.failure) == (1, None)
    assert sum(transitions(loop)) == status.transitions  # no step that was written is lost


@pytest.mark.slow
@pytest.mark.parametrize("name", ["append", "flush", "close", "create"])
@pytest.mark.parametrize("error", [StorageError("injected"), RuntimeError("injected")], ids=["disk", "other"])
def test_an_error_at_any_call_pauses_and_the_next_recording_goes_on(
    bundles, tmp_path, disk, monkeypatch, name, error
):
    left = [2]
    real = getattr(RecordingWriter, name)

    def fail_once(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            raise error
        return real(*arguments, **options)

    monkeypatch.setattr(RecordingWriter, name, fail_once)
    settings = SETTINGS.replace(recording_transitions=5, segment_transitions=3, min_free_bytes=FLOOR)
    loop = Loop(bundles[0], tmp_path / "seen", settings)
    step_until(loop, lambda status: status.pauses == 1 and status.failure is None)
    before = loop.recorder.status.transitions
    step_until(loop, lambda status: status.transitions > before + 12)
    loop.recorder.close()
    assert all(transitions(loop))


def test_a_folder_that_another_one_replaced_gets_nothing(loop):
    step_until(loop, lambda status: status.transitions > 3)
    other = loop.folder.with_name("other")
    other.mkdir()
    shutil.copyfile(loop.folder / ".lock", other / ".lock")
    loop.folder.rename(loop.folder.with_name("gone"))
    other.rename(loop.folder)  # at once, so that the recorder meets no folder in between
    step_until(loop, lambda status: status.failure is not None)
    dropped = loop.recorder.status.dropped
    step_until(loop, lambda status: status.dropped > dropped + 20)
    assert [path.name for path in loop.folder.iterdir()] == [".lock"]


def test_a_message_of_the_folder_needs_no_stderr(bundles, tmp_path, monkeypatch):
    folder = tmp_path / "seen"
    (folder / "recording-000001").mkdir(parents=True)
    (folder / "recording-000001" / "notes.txt").write_text("mine")
    monkeypatch.setattr("sys.stderr", None)
    loop = Loop(bundles[0], folder)
    loop.recorder.close()
    assert isinstance(loop.recorder._folder, RecordingsFolder)
