"""The registry in a folder: older files, damaged bundles, and numbers that were given once."""

import json
import shutil

import pytest

from sacpipe.bundle.files import bundle_digest, read_files
from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import StoreError
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.folder.files import TrackingFolder
from sacpipe.tracking.folder.tracker import FolderTracker

KEY = "ab" * 32
VERSION_OF_FORMAT_1 = {
    "name": "Push",
    "version": 1,
    "run_id": KEY,
    "model_id": "0" * 64,
    "tags": {"sacpipe.bundle_digest": "0" * 64},
    "aliases": ["champion"],
}


@pytest.fixture
def tracker(tmp_path):
    made = FolderTracker(TrackingFolder(tmp_path / "tracking"))
    made.ensure_run(KEY, "export", {}, {})
    return made


@pytest.fixture
def bundle(tmp_path):
    return example_bundle(tmp_path / "bundle", 0.5)


def test_a_file_of_format_1_is_read_and_the_next_write_is_of_format_2(tracker, tmp_path):
    path = tmp_path / "tracking" / "policies" / "Push.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"format_version": 1, "versions": [VERSION_OF_FORMAT_1]}))
    registry = tracker.registry
    (version,) = registry.versions("Push")
    assert (version.description, version.aliases, registry.model_tags("Push")) == ("", ("champion",), {})
    tracker.check()
    assert registry.register("Push", "1" * 64, KEY, "1" * 64, {}).version == 2
    tree = json.loads(path.read_text())
    assert (tree["format_version"], tree["tags"], tree["deleted"]) == (2, {}, {})
    assert tree["versions"][0] == VERSION_OF_FORMAT_1 | {"description": ""}


def test_a_deleted_number_is_given_to_its_own_bundle_only(tracker):
    registry = tracker.registry
    for digest in ("0" * 64, "1" * 64):
        registry.register("Push", digest, KEY, digest, {})
    registry.delete_version("Push", 2)
    with pytest.raises(StoreError, match=f"the deleted version 2 was bundle {'1' * 64}, so bundle 2+ cannot"):
        registry.register("Push", "2" * 64, KEY, "2" * 64, {}, number=2)
    assert registry.register("Push", "1" * 64, KEY, "1" * 64, {}, number=2).version == 2
    registry.delete_version("Push", 2)
    assert registry.register("Push", "2" * 64, KEY, "2" * 64, {}).version == 3


def test_a_number_between_others_can_be_given_and_versions_stay_in_order(tracker):
    for number in (5, 2, 4):
        digest = str(number) * 64
        tracker.registry.register("Push", digest, KEY, digest, {}, number=number)
    assert [one.version for one in tracker.registry.versions("Push")] == [2, 4, 5]
    assert tracker.registry.register("Push", "9" * 64, KEY, "9" * 64, {}).version == 6


DAMAGES = {
    "a flipped byte": lambda folder: (folder / "golden.npz").write_bytes(b"1"),
    "a missing file": lambda folder: (folder / "contract.json").unlink(),
    "another file": lambda folder: (folder / "surprise.py").write_bytes(b"1"),
    "a folder in it": lambda folder: (folder / "more").mkdir(),
    "a folder for a file": lambda folder: (
        (folder / "policy.onnx").unlink(),
        (folder / "policy.onnx").mkdir(),
    ),
    "nothing": shutil.rmtree,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_restored(tracker, tmp_path, bundle, damage):
    digest = bundle_digest(bundle)
    record = tracker.registry.register("Push", tracker.log_model(KEY, bundle), KEY, digest, {})
    DAMAGES[damage](tmp_path / "tracking" / "bundles" / digest)
    tracker.registry.restore_files(record, bundle)
    fetched, _ = tracker.registry.download(record, tmp_path / "fetched")
    assert read_files(fetched) == read_files(bundle)
    tracker.registry.set_alias("Push", "champion", 1)
    assert tracker.registry.smoke_load("Push", "champion", open_bundle(bundle)) == 0.0


def test_files_are_not_restored_from_another_bundle(tracker, tmp_path, bundle):
    digest = bundle_digest(bundle)
    record = tracker.registry.register("Push", tracker.log_model(KEY, bundle), KEY, digest, {})
    other = example_bundle(tmp_path / "other", 0.25)
    with pytest.raises(StoreError, match=rf"version 1: expected bundle {digest} to restore .*own bundle"):
        tracker.registry.restore_files(record, other)
