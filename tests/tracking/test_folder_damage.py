"""A tracking folder whose disk, files or neighbours fail: an error of the store, or the record is written again."""

import os
from pathlib import Path

import pytest

from sacpipe.core.errors import GateError, StoreError
from sacpipe.rollout.registries import parse_address
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.folder.config import FolderTracking
from sacpipe.tracking.folder.files import TrackingFolder
from sacpipe.tracking.folder.tracker import FolderTracker
from sacpipe.tracking.registry import RegistrySource

KEY = "ab" * 32
ROWS = [{"env_steps": 1}]


@pytest.fixture
def tracker(tmp_path):
    made = FolderTracker(TrackingFolder(tmp_path / "tracking"))
    made.ensure_run(KEY, "export", {}, {})
    made.log_rows(KEY, ROWS)
    return made


@pytest.fixture
def run(tmp_path, tracker):
    """The folder of the run."""
    return tmp_path / "tracking" / "runs" / KEY


WRITES = {
    "ensure_run": lambda tracker, _: tracker.ensure_run(KEY, "export", {}, {"a": "b"}),
    "log_rows": lambda tracker, _: tracker.log_rows(KEY, [*ROWS, *ROWS]),
    "log_metrics": lambda tracker, _: tracker.log_metrics(KEY, {"a": 1.0}),
    "log_record": lambda tracker, _: tracker.log_record(KEY, {}),
    "log_model": lambda tracker, folder: tracker.log_model(KEY, example_bundle(folder / "made", 0.5)),
    "register": lambda tracker, _: tracker.registry.register("Push", KEY, KEY, KEY, {}),
}


@pytest.mark.parametrize("method", WRITES)
def test_a_disk_that_fails_is_an_error_of_the_store(tracker, tmp_path, method, monkeypatch):
    root, replace = tmp_path / "tracking", Path.replace

    def full(self, target):
        if root in self.parents:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StoreError, match="the disk is full"):
        WRITES[method](tracker, tmp_path)


def test_a_bundle_whose_writer_was_killed_is_logged_again(tracker, tmp_path):
    bundle = example_bundle(tmp_path / "bundle", 0.5)
    digest = tracker.log_model(KEY, bundle)
    (tmp_path / "tracking" / "bundles" / digest / ".policy.onnx.0a1b2c3d.tmp").write_bytes(b"half")
    tracker.log_model(KEY, bundle)
    record = tracker.registry.register("Push", digest, KEY, digest, {})
    assert tracker.registry.fetch_bundle("Push", record.version, tmp_path / "fetched").digest == digest


def test_models_keep_their_order(tracker, tmp_path):
    bundles = [example_bundle(tmp_path / str(gain), gain) for gain in (0.1, 0.2, 0.3, 0.4, 0.5)]
    digests = [tracker.log_model(KEY, bundle) for bundle in [*bundles, bundles[0]]]
    assert tracker.find_run(KEY).model_ids == tuple(digests[:5])


def test_rows_that_are_no_text_are_an_error_of_the_store_and_are_moved_aside(tracker, tmp_path, run):
    (run / "rows.jsonl").write_bytes(b"\xff")
    with pytest.raises(StoreError, match="rows.jsonl cannot be read: 'utf-8'"):
        tracker.rows_agree(KEY, ROWS)
    moved = FolderTracking(name="folder").put_unusable_aside(tmp_path, {})
    assert "rows.jsonl cannot be read" in moved
    assert "tracking.1 now" in moved


def test_rows_that_cannot_be_read_are_an_error_of_the_store_and_are_moved_aside(tracker, tmp_path, run):
    (run / "rows.jsonl").unlink()
    (run / "rows.jsonl").mkdir()
    with pytest.raises(StoreError, match="rows.jsonl cannot be read"):
        tracker.rows_agree(KEY, ROWS)
    assert "tracking.1 now" in FolderTracking(name="folder").put_unusable_aside(tmp_path, {})


def test_a_shared_folder_with_a_damaged_record_names_the_file_to_move(tracker, tmp_path, run):
    (run / "run.json").write_text("{")
    shared = {"SACPIPE_TRACKING_FOLDER": str(tmp_path / "tracking")}
    with pytest.raises(StoreError, match=r"run\.json cannot be read as JSON: .*\. Move the file away"):
        FolderTracking(name="folder").put_unusable_aside(tmp_path, shared)
    (run / "run.json").rename(tmp_path / "away")
    assert FolderTracking(name="folder").put_unusable_aside(tmp_path, shared) is None


def test_a_run_that_is_discarded_during_a_check_is_left_out(tracker, run, monkeypatch):
    found = list((run.parents[1]).glob("runs/*/*"))
    tracker.discard_run(KEY)
    monkeypatch.setattr(Path, "glob", lambda _, pattern: [one for one in found if one.match(pattern)])
    tracker.check()


def test_a_file_that_grows_is_read_up_to_the_limit(tracker, run, monkeypatch):
    os.truncate(run / "run.json", 2**24 + 1)
    monkeypatch.setattr(Path, "stat", lambda *_, **__: os.stat_result([0] * 10))
    with pytest.raises(StoreError, match="expected at most 16777216 bytes"):
        tracker.find_run(KEY)


@pytest.mark.parametrize("digest", ["", "x" * 64, "0" * 63, "0" * 64 + "\n", "../" * 20])
def test_a_version_without_a_digest_is_refused_by_the_rule(tracker, tmp_path, digest):
    record = tracker.registry.register("Push", digest, KEY, digest, {})
    source = RegistrySource(tracker.registry, parse_address("models:/Push/1"))
    for ask in (source.resolve, lambda: tracker.registry.download(record, tmp_path)):
        with pytest.raises(GateError, match="refused by the rule 'digest': .*expected a digest"):
            ask()


@pytest.mark.parametrize("name", ["x" * 256, "\u00fc" * 100, "." * 200])
def test_a_long_name_of_a_policy_has_a_file(tracker, tmp_path, name):
    tracker.registry.register(name, KEY, KEY, KEY, {})
    again = FolderTracker(TrackingFolder(tmp_path / "tracking"))
    assert [one.name for one in again.registry.versions(name)] == [name]
    assert again.registry.versions(name[:-1]) == []
    again.check()
