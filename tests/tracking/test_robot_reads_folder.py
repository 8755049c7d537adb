"""A robot serves an alias of a folder that it can only read, without a project and without MLflow."""

import pytest
from served import running

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.rollout.registries import choose_registry, parse_address
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.folder.files import TrackingFolder
from sacpipe.tracking.folder.tracker import FolderTracker


@pytest.mark.slow
def test_a_robot_serves_an_alias_of_a_folder_that_is_read_only(tmp_path):
    bundle = example_bundle(tmp_path / "bundle", 0.5)
    tracker = FolderTracker(TrackingFolder(tmp_path / "registry"))
    run_id = tracker.ensure_run("ab" * 32, "export", {}, {})
    tracker.registry.register("Push", tracker.log_model(run_id, bundle), run_id, bundle_digest(bundle), {})
    tracker.registry.set_alias("Push", "champion", 1)
    held = {path: path.stat().st_mtime_ns for path in (tmp_path / "registry").rglob("*")}
    variables = {"SACPIPE_TRACKING": "folder", "SACPIPE_TRACKING_FOLDER": str(tmp_path / "registry")}
    position = {"name": "position", "shape": [1, 1], "datatype": "FP32", "data": [0.5]}
    with running("-m", "sacpipe.server", "models:/Push@champion", "--port", "0", env=variables) as server:
        status, answer = server.infer({"inputs": [position]})
    assert (status, answer["outputs"][0]["data"]) == (200, [0.25])
    assert answer["parameters"]["bundle_sha256"] == bundle_digest(bundle)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "registry").rglob("*")} == held


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.write_text("{"), "cannot be read as JSON"),
        (
            lambda path: path.write_text('{"format_version": 3, "versions": []}'),
            "format_version: .*1 or 2, found 3",
        ),
        (lambda path: path.write_bytes(b" " * (2**24 + 1)), "expected at most 16777216 bytes"),
        (lambda path: (path.unlink(), path.mkdir()), "cannot be read as JSON: .*regular file"),
        (lambda path: path.unlink(), "has no version or alias 'champion'; it has none"),
    ],
)
def test_a_damaged_registry_is_refused_by_its_file(tmp_path, damage, said):
    registry = FolderTracker(TrackingFolder(tmp_path)).registry
    registry.register("Push", "0" * 64, "a run", "0" * 64, {})
    damage(tmp_path / "policies" / "Push.json")
    chosen = choose_registry(None, {"SACPIPE_TRACKING": "folder"})
    source = chosen.source(
        parse_address("models:/Push@champion"), None, {"SACPIPE_TRACKING_FOLDER": str(tmp_path)}
    )
    with pytest.raises(StoreError, match=said):
        source.resolve()


def test_a_robot_without_the_folders_address_gets_the_name_of_the_variable():
    chosen = choose_registry(None, {"SACPIPE_TRACKING": "folder"})
    with pytest.raises(ConfigError, match="SACPIPE_TRACKING_FOLDER: expected the folder of the registry"):
        chosen.source(parse_address("models:/Push@champion"), None, {})
