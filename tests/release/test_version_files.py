"""The file of each registered version: written durably, kept where nothing changed, named where it is damaged."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from sacpipe.core.errors import StoreError
from sacpipe.project.workspace import Workspace
from sacpipe.release.real_world import open_world
from sacpipe.release.versions import read_versions, write_version
from sacpipe.tracking.folder.config import FolderTracking
from sacpipe.tracking.registry import BARRED_TAG, BUNDLE_TAG, POLICY_TAG, VersionRecord

ENTRIES = {"train": {"cmd": "python train.py", "outs": [{"path": "out/train", "md5": "ab"}]}}
FIRST, SECOND, POLICY = "1" * 64, "2" * 64, "f" * 64


class Hours:
    """A clock that is an hour later at each look."""

    def __init__(self):
        self.time = datetime(2026, 11, 27, 20, tzinfo=UTC)

    def now(self):
        self.time += timedelta(hours=1)
        return self.time

    def sleep(self, seconds):
        raise AssertionError(seconds)


@pytest.fixture
def world(tmp_path):
    tracker = FolderTracking.parse({"name": "folder"}).open_tracker(tmp_path / ".sacpipe", {})
    return replace(open_world(Workspace(tmp_path), tracker), clock=Hours())


def version(number, digest, **tags):
    own = {BUNDLE_TAG: digest, POLICY_TAG: POLICY} | tags
    return VersionRecord("reach", number, "run", "model", own, ("candidate",))


def test_what_was_written_is_read_by_number_and_digest(world, tmp_path):
    written = [
        write_version(world, version(10, SECOND), ENTRIES),
        write_version(world, version(2, SECOND), {}),
        write_version(world, version(2, FIRST, color="red"), ENTRIES),  # of another clone and registry
    ]
    assert read_versions(world.disk, "reach") == written[::-1]
    assert read_versions(world.disk, "other") == []
    names = sorted(path.name for path in (tmp_path / "release" / "reach" / "versions").iterdir())
    assert names == ["000002-111111111111.json", "000002-222222222222.json", "000010-222222222222.json"]
    tree = json.loads((tmp_path / "release" / "reach" / "versions" / names[0]).read_text())
    assert tree == {
        "format_version": 1,
        "model": "reach",
        "number": 2,
        "bundle": FIRST,
        "policy_sha256": POLICY,
        "entries": ENTRIES,
        "tags": {BUNDLE_TAG: FIRST, POLICY_TAG: POLICY, "color": "red"},
        "time": "2026-11-27T23:00:00+00:00",
    }


def test_a_second_run_with_nothing_changed_leaves_the_file_and_another_keeps_the_first_time(world, tmp_path):
    first = write_version(world, version(1, FIRST), ENTRIES)
    path = tmp_path / first.path
    before = path.stat()
    assert write_version(world, version(1, FIRST), ENTRIES) == first
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    judged = write_version(world, version(1, FIRST, verdict="accepted"), {})
    assert (judged.time, judged.entries, judged.tags["verdict"]) == (first.time, {}, "accepted")
    assert read_versions(world.disk, "reach") == [judged]


def test_a_bar_is_left_to_the_history(world):
    barred = version(1, FIRST, **{BARRED_TAG: "since today"})
    assert BARRED_TAG not in write_version(world, barred, ENTRIES).tags


def test_a_version_that_no_run_registered_is_refused(world, tmp_path):
    with pytest.raises(StoreError, match="version 1 of policy 'reach': expected the digests"):
        write_version(world, version(1, "by hand"), ENTRIES)
    assert not (tmp_path / "release").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-20], "no version of format 1"),
        (lambda data: data.replace(b'"format_version":1', b'"format_version":2'), "format_version"),
        (lambda data: data.replace(b'"number":1', b'"number":3'), "a version whose file is .*/000003-1"),
        (lambda data: data.replace(b'"model":"reach"', b'"model":"other"'), "file is release/other/"),
        (lambda data: data.replace(b'"tags":', b'"more":1,"tags":'), "more"),
        (lambda data: b"", "no version of format 1"),
    ],
)
def test_a_damaged_file_is_named_with_the_command_that_restores_it(world, tmp_path, damage, message):
    path = tmp_path / write_version(world, version(1, FIRST), ENTRIES).path
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreError, match=message) as error:
        read_versions(world.disk, "reach")
    name = "release/reach/versions/000001-111111111111.json"
    assert str(error.value).startswith(f"{name}: found ")
    assert f"`git checkout -- {name}` restores it" in str(error.value)
    with pytest.raises(StoreError, match="found"):
        write_version(world, version(1, FIRST), ENTRIES)


def test_what_a_cut_off_write_left_is_no_version(world, tmp_path):
    first = write_version(world, version(1, FIRST), ENTRIES)
    (tmp_path / "release" / "reach" / "versions" / ".000002-222222222222.json.tmp").write_text('{"form')
    assert read_versions(world.disk, "reach") == [first]
