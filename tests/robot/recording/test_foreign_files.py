"""A recorder removes what it made and nothing else, and no pipe, device or loop in its folder stops it."""

import os
import shutil
import socket
import stat
import threading

import numpy as np
import pytest
from test_recorder import SETTINGS, Loop

from sacpipe.core.errors import PoolError
from sacpipe.core.files import read_regular_file
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.recording.folder import RecordingsFolder, find_foreign, remove_recording
from sacpipe.robot.recording.format import Recording, transition_bytes


def record(bundles, folder, steps=3):
    loop = Loop(bundles[0], folder)
    for x in range(steps):
        loop.step(x / 100, 0.0, 0.0)
    loop.recorder.close()
    return sorted(folder.glob("recording-*"))[-1]


def unseal(recording):
    """As a kill after the last sync leaves it."""
    header = recording / "recording.json"
    text = header.read_text()
    start = text.index('"seal"')
    header.write_text(text[:start] + '"seal": null' + text[text.index("}", start) + 1 :])


def everything(folder):
    """Every path below a folder, with the bytes of plain files and the targets of links."""
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        name = str(path.relative_to(folder))
        if stat.S_ISLNK(mode):
            found[name] = str(path.readlink())
        else:
            found[name] = path.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return found


def make_tree(path, *names):
    path.mkdir(parents=True)
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_text("mine")


FOREIGN = {
    "temporary folder": lambda folder: make_tree(folder / ".cache.tmp", "notes.txt"),
    "temporary folder named as a removed recording": lambda folder: make_tree(
        folder / ".recording-000001.tmp", "notes.txt"
    ),
    "temporary file": lambda folder: (folder / ".thesis.tmp").write_text("mine"),
    "folder without a header": lambda folder: make_tree(folder / "recording-000003", "notes.txt"),
    "folder with a pool and no header": lambda folder: make_tree(
        folder / "recording-000003", "pool/manifest.json"
    ),
    "folder with a foreign header": lambda folder: make_tree(folder / "recording-000003", "recording.json"),
    "folder with a temporary header of another program": lambda folder: make_tree(
        folder / "recording-000003", ".recording.json.0123abcd.tmp"
    ),
    "file": lambda folder: (folder / "recording-000003").write_text("mine"),
    "link to a folder": lambda folder: (
        make_tree(folder.parent / "elsewhere", "recording.json"),
        (folder / "recording-000003").symlink_to(folder.parent / "elsewhere"),
    ),
    "link to itself": lambda folder: (folder / "recording-000003").symlink_to("recording-000003"),
    "pipe": lambda folder: os.mkfifo(folder / "recording-000003"),
    "pipe for a header": lambda folder: (
        (folder / "recording-000003").mkdir(),
        os.mkfifo(folder / "recording-000003" / "recording.json"),
    ),
    "link to a device for a header": lambda folder: (
        (folder / "recording-000003").mkdir(),
        (folder / "recording-000003" / "recording.json").symlink_to("/dev/zero"),
    ),
    "socket": lambda folder: bind(folder / "recording-000003"),
    "folder without permission": lambda folder: make_tree(folder / "recording-000003", "a/b"),
}


def bind(path):
    here = os.open(".", os.O_RDONLY)
    os.chdir(path.parent)  # the path of a socket is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.fchdir(here)
        os.close(here)


@pytest.mark.parametrize("name", FOREIGN)
def test_what_another_program_made_is_left_as_it_is(bundles, tmp_path, name, capsys):
    folder = tmp_path / "seen"
    folder.mkdir()
    FOREIGN[name](folder)
    before = everything(tmp_path)
    recording = record(bundles, folder)
    assert Recording.open(recording).check().transitions == 2
    after = everything(tmp_path)
    assert {path: after.get(path) for path in before} == before
    if "recording-000003" in before:
        assert recording.name == "recording-000004"
    if any("recording-" in path for path in before):
        assert "left as it is: expected files of a recorder, found " in capsys.readouterr().err


INSIDE = {
    "file": lambda path: (path / "notes.txt").write_text("mine"),
    "file in the pool": lambda path: (path / "pool" / "notes.txt").write_text("mine"),
    "temporary file": lambda path: (path / ".notes.tmp").write_text("mine"),
    "folder": lambda path: make_tree(path / "more", "notes.txt"),
    "link": lambda path: (path / "more").symlink_to(path.parent),
    "link for the pool": lambda path: (
        (path / "pool").rename(path.parent.parent / "elsewhere"),
        (path / "pool").symlink_to(path.parent.parent / "elsewhere"),
    ),
    "pipe for the steps": lambda path: ((path / "steps.bin").unlink(), os.mkfifo(path / "steps.bin")),
    "pipe for the pool's manifest": lambda path: (
        (path / "pool" / "manifest.json").unlink(),
        os.mkfifo(path / "pool" / "manifest.json"),
    ),
    "pipe for a journal": lambda path: os.mkfifo(path / "pool" / "journal-0000000000.bin"),
    "loop for the steps": lambda path: (
        (path / "steps.bin").unlink(),
        (path / "steps.bin").symlink_to("steps.bin"),
    ),
}


@pytest.mark.parametrize("is_sealed", [False, True], ids=["unfinished", "closed"])
@pytest.mark.parametrize("name", INSIDE)
def test_a_recording_with_a_foreign_file_is_left_as_it_is(bundles, tmp_path, name, is_sealed, capsys):
    folder = tmp_path / "seen"
    recording = record(bundles, folder)
    if not is_sealed:
        unseal(recording)
    INSIDE[name](recording)
    before = everything(tmp_path)
    assert record(bundles, folder).name == "recording-000002"
    after = everything(tmp_path)
    assert {path: after.get(path) for path in before} == before
    assert f"{recording}: left as it is" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["pipe for the steps", "pipe for the pool's manifest", "loop for the steps"])
def test_a_pipe_in_a_recording_is_refused_and_not_waited_for(bundles, tmp_path, name):
    recording = record(bundles, tmp_path / "seen")
    INSIDE[name](recording)
    found = []

    def check():
        try:
            Recording.open(recording).check()
        except PoolError as exc:
            found.append(exc)

    thread = threading.Thread(target=check, daemon=True)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive()
    assert found


def test_the_budget_does_not_remove_what_is_not_the_recorders(bundles, tmp_path):
    spec = OnnxPolicy(bundles[0]).contract.spec
    one = (1 << 16) + (1 << 11) * 3 + transition_bytes(spec) * 15
    settings = SETTINGS.replace(max_bytes=one + 6000, recording_transitions=10, segment_transitions=5)
    folder = tmp_path / "seen"
    first = record(bundles, folder)
    (first / "notes.txt").write_text("mine")
    loop = Loop(bundles[0], folder, settings)
    for x in range(45):
        loop.step(x / 100, 0.0, 0.0)
    loop.recorder.close()
    kept = sorted(path.name for path in folder.glob("recording-*"))
    assert kept[0] == first.name
    assert "recording-000002" not in kept
    assert (first / "notes.txt").read_text() == "mine"


def test_foreign_files_that_use_up_the_budget_pause_the_recording(bundles, tmp_path):
    folder = tmp_path / "seen"
    first = record(bundles, folder)
    (first / "video.mp4").write_bytes(bytes(SETTINGS.max_bytes))
    loop = Loop(bundles[0], folder)
    while loop.recorder.status.failure is None:
        pass
    loop.recorder.close()
    assert "files of another program use" in loop.recorder.status.failure
    assert (first / "video.mp4").stat().st_size == SETTINGS.max_bytes


def test_a_removal_that_was_killed_is_finished_and_never_goes_further(bundles, tmp_path):
    """Kill the removal before each of its operations; the next recorder of the folder finishes it."""
    source = tmp_path / "source"
    record(bundles, source)
    for count in range(20):
        folder = tmp_path / f"seen-{count}"
        shutil.copytree(source, folder)
        recording = folder / "recording-000001"
        left = count

        def killed(path, *arguments, work, **options):
            nonlocal left
            if left == 0:
                raise KeyboardInterrupt
            left -= 1
            return work(path, *arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            for name in ("unlink", "rmdir", "rename"):
                work = getattr(type(folder), name)
                patch.setattr(
                    type(folder),
                    name,
                    lambda path, *args, work=work, **kw: killed(path, *args, work=work, **kw),
                )
            try:
                remove_recording(recording)
            except KeyboardInterrupt:
                pass
            else:
                break
        RecordingsFolder(folder, OnnxPolicy(bundles[0]).contract.spec, SETTINGS).close()
        kept = sorted(path.name for path in folder.iterdir())
        assert kept in ([".lock"], [".lock", "recording-000001"]), count
        assert (kept == [".lock"]) == (count > 0)
    assert count > 5


def test_a_recorder_that_was_killed_before_the_header_leaves_nothing(bundles, tmp_path):
    folder = tmp_path / "seen"
    whole = (record(bundles, folder) / "recording.json").read_bytes()
    for number, start in enumerate((None, b"", whole[:9], whole[:40], whole), start=2):
        path = folder / f"recording-{number:06d}"
        path.mkdir()
        if start is not None:
            (path / ".recording.json.0123abcd.tmp").write_bytes(start)
        assert find_foreign(path) is None
    assert record(bundles, folder).name == "recording-000002"
    assert len(list(folder.glob("recording-*"))) == 2


def test_a_newer_format_is_left_as_it_is(bundles, tmp_path, capsys):
    folder = tmp_path / "seen"
    recording = record(bundles, folder)
    header = recording / "recording.json"
    header.write_text(header.read_text().replace('"format_version": 2', '"format_version": 3'))
    before = everything(folder)
    record(bundles, folder)
    assert {path: everything(folder).get(path) for path in before} == before
    assert "expected format_version 2" in capsys.readouterr().err


def test_a_device_and_a_folder_are_no_regular_files(tmp_path):
    for path in (tmp_path, "/dev/zero", "/dev/null"):
        with pytest.raises(OSError, match="expected a regular file"):
            read_regular_file(path)
    (tmp_path / "file").write_bytes(b"bytes")
    (tmp_path / "link").symlink_to("file")
    assert read_regular_file(tmp_path / "link") == b"bytes"


def test_numbers_go_on_behind_every_name(bundles, tmp_path):
    folder = tmp_path / "seen"
    folder.mkdir()
    (folder / "recording-000041").write_text("a file")
    assert record(bundles, folder).name == "recording-000042"
    assert np.isfinite(Recording.open(folder / "recording-000042").steps()["executed_action"]).all()
