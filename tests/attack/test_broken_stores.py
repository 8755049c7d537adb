"""Stores, recordings, settings and tokens as a power cut, a backup or a mistake leaves them."""

import json
import os
import resource
import shutil
import subprocess
import sys
import threading

import pytest
from repository import ROOT
from surroundings import bound_by_file_modes, free_port, hosted, make_store, replace_folder, write_terms

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import SacpipeError
from sacpipe.robot.recording.folder import RecorderSettings, RecordingsFolder

pytestmark = pytest.mark.attack


@pytest.fixture
def log(tmp_path):
    return tmp_path / "stderr"


@pytest.fixture
def store(bundles, tmp_path):
    """A store whose current bundle is the first one."""
    tmp_path.chmod(0o755)
    return make_store(tmp_path / "store", bundles[0])


@pytest.fixture
def follow(bundles, store, log, tmp_path):
    """Return a function that starts a server with the store."""
    source = shutil.copytree(bundles[0], tmp_path / "source")
    terms = write_terms(tmp_path / "terms")
    return lambda **options: hosted(log, source, "--follow", "--store", store, "--terms", terms, **options)


def _limit_memory():
    """Run in a child process before its program: what reads without end then endangers no other process."""
    resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))


def refused(*arguments):
    """Return the one line with which a server refuses to start; no line is a traceback."""
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "sacpipe.server",
            *(str(part) for part in arguments),
            "--port",
            str(free_port()),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=_limit_memory,
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1), result.stderr
    assert result.stderr.startswith("sacpipe: ")
    return result.stderr


def test_a_store_that_cannot_be_written(follow, store):
    """A robot with a good bundle serves it. The superuser obeys file modes here as others do."""
    for path in (*store.rglob("*"), store):
        path.chmod(0o555 if path.is_dir() else 0o444)
    with follow(preexec_fn=bound_by_file_modes) as host:
        host.wait_for_service()
        assert host.end() == 0


def test_a_store_with_a_backup_of_hard_links(follow, store, tmp_path):
    for path in store.rglob("*.*"):
        if path.is_file():
            os.link(path, tmp_path / f"backup-{path.name}")
    shutil.rmtree(tmp_path / "source")
    with follow() as host:
        host.wait_for_service()


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 300, b'{"bad": {}, "form'],
    ids=["empty", "of zeros", "torn"],
)
def test_a_state_file_after_a_power_cut(follow, store, content):
    """The bundles and the source are whole: no person is needed."""
    (store / "current.json").write_bytes(content)
    with follow() as host:
        host.wait_for_service()
        assert host.end() == 0


@pytest.mark.parametrize("damage", ["empty", "missing", "flipped"])
def test_the_current_bundle_after_a_power_cut(follow, store, bundles, damage):
    path = store / "sha256" / bundle_digest(bundles[0]) / "policy.onnx"
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"" if damage == "empty" else b"\0" + data[1:])
    with follow() as host:
        host.wait_for_service()
        assert host.end() == 0


def test_a_store_in_use(follow, store, bundles):
    with follow() as host:
        host.wait_for_service()
        assert "another process has the store" in refused(bundles[0], "--follow", "--store", store)
        host.wait_for_service()


@pytest.mark.parametrize("kind", ["file", "pipe", "link to nothing"])
def test_a_store_that_is_no_folder(bundles, tmp_path, kind):
    path = tmp_path / "odd"
    {"file": path.touch, "pipe": lambda: os.mkfifo(path), "link to nothing": lambda: path.symlink_to("gone")}[
        kind
    ]()
    if kind == "link to nothing":
        (tmp_path / "gone").touch()
    assert str(path) in refused(bundles[0], "--follow", "--store", path)


def test_foreign_files_in_a_store(follow, store):
    """They stay, and do not disturb."""
    foreign = [store / "notes.txt", store / "sha256" / "README", store / "sha256" / ("0" * 64)]
    foreign[0].write_text("mine")
    foreign[1].write_text("mine")
    foreign[2].mkdir()
    with follow() as host:
        host.wait_for_service()
        assert host.end() == 0
    assert foreign[0].exists()


def test_two_servers_at_one_port(follow, bundles):
    with follow() as host:
        host.wait_for_service()
        result = subprocess.run(
            [sys.executable, "-m", "sacpipe.server", bundles[0], "--port", str(host.port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        host.wait_for_service()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"poll_s: [", "terms"),
        (b"\xff\xfe", "terms"),
        (b"- a\n", "terms"),
        (b"poll_s: 1.0e-400", "poll_s"),
        (b"unknown: 1", "unknown"),
    ],
    ids=["no YAML", "no text", "a list", "zero", "an unknown key"],
)
def test_a_settings_file_of(bundles, tmp_path, text, expected):
    path = tmp_path / "terms"
    path.write_bytes(text)
    assert expected in refused(bundles[0], "--terms", path)


@pytest.mark.parametrize("kind", ["a folder", "nothing", "bytes", "two lines"])
def test_a_token_file_of(bundles, tmp_path, kind):
    path = tmp_path / "token"
    if kind == "a folder":
        path.mkdir()
    else:
        path.write_bytes(
            {"nothing": b"", "bytes": b"\xff" * 32, "two lines": b"0" * 20 + b"\n" + b"1" * 20}[kind]
        )
    assert "token" in refused(bundles[0], "--token-file", path)


RECORDER = RecorderSettings(max_bytes=1 << 22, recording_transitions=100, segment_transitions=10, flush_s=1.0)


def open_recordings(folder, bundle):
    """Open a folder of recordings and close it, in a thread that the test gives up after a while."""
    faults = []

    def work():
        try:
            recordings = RecordingsFolder(folder, open_bundle(bundle).contract.spec, RECORDER)
            recordings.begin()
            recordings.close()
        except (SacpipeError, OSError, ValueError) as exc:
            faults.append(exc)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(10.0)
    assert not thread.is_alive(), "the recorder hangs"
    return faults


def test_foreign_folders_among_the_recordings(bundles, tmp_path):
    """A recorder deletes nothing that it did not write."""
    kept = [
        tmp_path / "thesis.tmp" / "chapter",
        tmp_path / "recording-000007" / "photo",
        tmp_path / "recording-000008.tmp" / "photo",
        tmp_path / "notes.tmp",
    ]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    assert open_recordings(tmp_path, bundles[0]) == []
    assert [path.name for path in kept if not path.exists()] == []


@pytest.mark.parametrize(
    "place", ["recording-000003", "recording-000003/header.json", "recording-000003/pool", ".lock"]
)
def test_a_pipe_among_the_recordings(bundles, tmp_path, place):
    """A recorder does not wait for a pipe's other end: it ends with an error of its own, or goes on."""
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    faults = open_recordings(tmp_path, bundles[0])
    assert [fault for fault in faults if not type(fault).__module__.startswith("sacpipe.")] == []
    assert path.exists()


def test_a_promotion_while_evidence_cannot_be_kept(follow, store, bundles, tmp_path):
    """A file is where the folder of evidence belongs: the rollout ends all the same."""
    (store / "evidence").rmdir() if (store / "evidence").is_dir() else None
    (store / "evidence").write_text("mine")
    with follow() as host:
        host.wait_for_service()
        replace_folder(tmp_path / "source", bundles[1])
        host.wait(lambda: host.status()["follower"]["counts"].keys() & {"accepted", "failed"}, "an end")
        host.wait_for_service()
        assert host.end() == 0
    json.loads((store / "current.json").read_bytes())
