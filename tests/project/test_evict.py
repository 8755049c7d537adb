"""`sacpipe pool evict` bounds a pool, survives a kill, and leaves every pool alone that others depend on."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from folder_digest import sha256_tree
from repository import ROOT
from ruamel.yaml import YAML
from small_project import sacpipe

from sacpipe.core.errors import StoreError
from sacpipe.core.files import sha256_file
from sacpipe.params.model import Params
from sacpipe.project.dvc.commands import DvcStore
from sacpipe.replay.pool.reader import ReplayPool


@pytest.fixture(scope="session")
def short_recordings(finished, tmp_path_factory):
    """Three recordings of the finished project's robot, with some hundred transitions each."""
    folder = tmp_path_factory.mktemp("short") / "recordings"
    for seed in ("1", "2", "3"):
        rate = ["--rate", "2000", "--seconds", "0.1", "--seed", seed]
        sacpipe(finished, "drive", *rate, "--record", str(folder), check=0)
    return [folder / f"recording-00000{number}" for number in (1, 2, 3)]


@pytest.fixture
def pool(project, call, short_recordings):
    """data/pool of a project, with one segment of each of the first two recordings."""
    seen = call(project, "pool", "ingest", *map(str, short_recordings[:2]))
    assert seen.code == 0, seen.err
    return ReplayPool.open(project / "data" / "pool")


def evict(call, project, *arguments):
    seen = call(project, "pool", "evict", "--json", "--keep-transitions", *map(str, arguments))
    assert seen.code == 0, seen.err
    return json.loads(seen.out)


def files(pool):
    return sorted(path.name for path in pool.folder.iterdir())


def tracked_files(project):
    return YAML(typ="safe").load(project / "data" / "pool.dvc")["outs"][0]["nfiles"]


def test_the_oldest_segments_go_and_dvc_tracks_the_rest(project, call, pool):
    oldest, newest = pool.segments
    done = evict(call, project, newest.transitions)
    rest = ReplayPool.open(pool.folder)
    assert rest.segments == (newest,)
    assert rest.check().transitions == done["pool_transitions"] == newest.transitions
    assert (done["evicted_segments"], done["evicted_transitions"]) == (1, oldest.transitions)
    assert done["pool_sha256"] == sha256_file(pool.folder / "manifest.json")
    assert files(rest) == ["manifest.json", newest.file]
    assert tracked_files(project) == 2
    status = [sys.executable, "-P", "-m", "dvc", "status", "data/pool.dvc"]
    assert (
        "up to date" in subprocess.run(status, cwd=project, capture_output=True, text=True, check=True).stdout
    )


def test_the_command_prints_the_digest_and_the_line_to_type(project, call, pool):
    params = project / "params.yaml"
    digest = sha256_file(pool.folder / "manifest.json")
    old = f'initial_pool: {{sha256: "{digest}", share: 0.25}}'
    params.write_text(params.read_text().replace("initial_pool: null", old))
    seen = call(project, "pool", "evict", "--keep-transitions", "1")
    new = f'initial_pool: {{sha256: "{sha256_file(pool.folder / "manifest.json")}", share: 0.25}}'
    assert seen.code == 0
    assert seen.out.startswith(f"data/pool: {pool.segments[0].transitions} transitions in 1 segments evicted")
    assert f"under `replay` in params.yaml by\n  {new}\n" in seen.out
    assert new != old
    params.write_text(params.read_text().replace(old, new))
    assert Params.load(params).replay.initial_pool.share == 0.25


def test_evicted_recordings_are_not_ingested_again_and_new_ones_are_appended(
    project, call, pool, short_recordings
):
    """Steps count evicted transitions too, so that the entries of data/ingested.json stay valid."""
    evict(call, project, 1)
    end = sum(entry.transitions for entry in pool.segments)
    seen = call(project, "pool", "ingest", "--json", *map(str, short_recordings))
    assert seen.code == 0, seen.err
    found = json.loads(seen.out)
    assert found["passed_over"] == 2
    (added,) = found["recordings"]
    assert added["recording_sha256"] == sha256_file(short_recordings[2] / "recording.json")
    assert added["first_step"] == end
    rest = ReplayPool.open(pool.folder)
    assert rest.check().transitions == pool.segments[1].transitions + added["transitions"]
    assert rest.segments[1].first_step == end
    entries = json.loads((project / "data" / "ingested.json").read_text())["recordings"]
    assert [entry["first_step"] for entry in entries] == [0, pool.segments[1].first_step, end]


def test_more_transitions_than_the_pool_has_change_nothing(project, call, pool):
    before = sha256_tree(project / "data")
    seen = call(project, "pool", "evict", "--keep-transitions", str(pool.transitions + 1))
    assert (seen.code, sha256_tree(project / "data")) == (0, before)
    assert seen.out.startswith(
        f"data/pool: nothing evicted. {pool.transitions} transitions in 2 segments, and"
    )
    done = evict(call, project, pool.transitions)
    assert (done["evicted_segments"], sha256_tree(project / "data")) == (0, before)


def test_a_failed_dvc_is_caught_up_by_the_same_command(project, call, pool, monkeypatch):
    def fail(*_):
        raise StoreError("no DVC today")

    with monkeypatch.context() as patch:
        patch.setattr(DvcStore, "add", fail)
        assert call(project, "pool", "evict", "--keep-transitions", "1").code == 3
    assert (len(ReplayPool.open(pool.folder).segments), tracked_files(project)) == (1, 3)
    done = evict(call, project, 1)
    assert (done["evicted_segments"], tracked_files(project)) == (0, 2)


@pytest.mark.slow
def test_a_kill_before_any_file_operation_leaves_a_complete_pool(tmp_path):
    result = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("evict_kills.py")), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert set(report["transitions"]) == {14, 6}
    assert report["different"] == []


def refused(call, project, *arguments):
    """Return the message of a refusal, which changes no file."""
    parts = [project / name for name in ("data", "out", "work")]
    before = [sha256_tree(part) for part in parts]
    seen = call(project, "pool", "evict", *map(str, arguments))
    assert (seen.code, seen.out) == (2, "")
    assert [sha256_tree(part) for part in parts] == before
    return seen.err


def test_pools_that_other_files_depend_on_are_refused(project, call, pool, short_recordings):
    message = refused(call, project, "--keep-transitions", 1, "out/train/pool")
    assert "out/train/pool is an output of the stage 'train', and dvc.lock holds its digest" in message
    (work,) = (project / "work").glob("*/pool/manifest.json")
    assert "is the working pool of a run" in refused(call, project, "--keep-transitions", 1, work.parent)
    recording = short_recordings[0] / "pool"
    before = sha256_tree(recording)
    assert "is a part of the recording" in refused(call, project, "--keep-transitions", 1, recording)
    assert sha256_tree(recording) == before


def test_a_copy_of_a_pool_may_be_evicted_and_dvc_is_not_involved(project, call, pool):
    copy = project / "copy"
    shutil.copytree(project / "out" / "train" / "pool", copy)
    before = ReplayPool.open(copy)
    data = sha256_tree(project / "data")
    done = evict(call, project, 1, copy)
    assert done["evicted_segments"] == len(before.segments) - 1
    assert files(ReplayPool.open(copy)) == ["manifest.json", before.segments[-1].file]
    assert sha256_tree(project / "data") == data


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_number_below_one_is_refused(project, call, pool, number):
    message = refused(call, project, "--keep-transitions", number)
    assert f"--keep-transitions: expected at least 1, found {number}" in message


def test_a_missing_or_damaged_pool_is_refused(project, call, pool):
    assert "expected the manifest of a replay pool" in refused(
        call, project, "--keep-transitions", 1, "data/none"
    )
    path = pool.folder / pool.segments[0].file
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path}: expected" in refused(call, project, "--keep-transitions", 1)


def test_the_number_is_needed_and_help_has_an_example(project, call):
    assert call(project, "pool", "evict").code == 2
    seen = call(project, "pool", "evict", "--help")
    assert (seen.code, "sacpipe pool evict --keep-transitions 1000000" in seen.out) == (0, True)
