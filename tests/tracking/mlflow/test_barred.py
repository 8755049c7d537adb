"""A barred version of a real MLflow server or a folder is given to no robot: serve refuses it, a follower stays."""

import os
import subprocess
import sys

import pytest
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import GateError
from sacpipe.rollout.registries import parse_address
from sacpipe.tracking.folder.files import TrackingFolder
from sacpipe.tracking.folder.tracker import FolderTracker
from sacpipe.tracking.registry import BARRED_TAG, RegistrySource

WHY = "since 2026-11-27T10:00:00Z by Ann <ann@example.org>: it shook"
SAID = (
    f"refused by the rule 'store': models:/Reach@champion version 2 is barred {WHY}. Name another version, or "
    "allow it by `sacpipe promote --again --reason TEXT`."
)


@pytest.fixture
def on_mlflow(registry):
    """The server's registry, an address to a source, and the variables that name it."""
    yield registry.registry, registry.source, {"MLFLOW_TRACKING_URI": registry.uri}
    registry.registry.set_version_tags("Reach", 2, {BARRED_TAG: ""})


@pytest.fixture
def on_folder(bundles, tmp_path):
    tracker = FolderTracker(TrackingFolder(tmp_path / "registry"))
    run_id = tracker.ensure_run("ab" * 32, "export", {}, {})
    for bundle in bundles:
        model_id = tracker.log_model(run_id, bundle)
        tracker.registry.register("Reach", model_id, run_id, bundle_digest(bundle), {})
    variables = {"SACPIPE_TRACKING": "folder", "SACPIPE_TRACKING_FOLDER": str(tmp_path / "registry")}
    return (
        tracker.registry,
        lambda address: RegistrySource(tracker.registry, parse_address(address)),
        variables,
    )


@pytest.fixture(params=[pytest.param("mlflow", marks=pytest.mark.slow), "folder"])
def served(request):
    store, source, variables = request.getfixturevalue(f"on_{request.param}")
    store.set_alias("Reach", "champion", 1)
    return store, source, variables


@pytest.mark.slow
def test_a_barred_version_has_no_source(served):
    store, source, _ = served
    store.set_alias("Reach", "champion", 2)
    store.set_version_tags("Reach", 2, {BARRED_TAG: WHY})
    for address, said in (
        ("models:/Reach@champion", SAID),
        ("models:/Reach/2", SAID.replace("@champion", "/2")),
    ):
        with pytest.raises(GateError) as caught:
            source(address).resolve()
        assert (str(caught.value), caught.value.rule) == (said, "store")
    assert source("models:/Reach/1").resolve().digest
    store.set_version_tags("Reach", 2, {BARRED_TAG: ""})
    assert source("models:/Reach@champion").resolve().digest


def test_a_long_text_is_cut_and_controls_no_terminal(served):
    store, source, _ = served
    store.set_version_tags("Reach", 2, {BARRED_TAG: "\x1b[2J\n" + "x" * 4000})
    with pytest.raises(GateError, match=r"is barred \\x1b\[2J\\n(x{295})\. Name another") as caught:
        source("models:/Reach/2").resolve()
    assert str(caught.value).isprintable()


@pytest.mark.slow
@pytest.mark.usefixtures("load_gate_here")
def test_a_follower_keeps_its_active_model_and_says_why(served, following, bundles):
    store, source, _ = served
    first, second = (bundle_digest(bundle) for bundle in bundles)
    with following(source=source("models:/Reach@champion")) as robot:
        assert robot.ask()["parameters"]["bundle_sha256"] == first
        store.set_version_tags("Reach", 2, {BARRED_TAG: WHY})
        store.set_alias("Reach", "champion", 2)
        robot.until(lambda state: "refused" in state.counts)
        robot.looked()
        assert robot.kinds == ["started", "refused"]  # said once
        assert robot.ask()["parameters"]["bundle_sha256"] == first
        status = robot.follower.status()
        assert (status.is_reachable, status.phase, status.events[0].text) == (True, "idle", SAID)
        store.set_version_tags("Reach", 2, {BARRED_TAG: ""})
        robot.until(lambda state: "accepted" in state.counts)
        assert robot.ask()["parameters"]["bundle_sha256"] == second
        store.set_version_tags("Reach", 2, {BARRED_TAG: WHY})
        robot.looked()
        assert (
            robot.ask()["parameters"]["bundle_sha256"] == second
        )  # what is active stays until another is named
        assert robot.follower.status().events[0].text == SAID


@pytest.mark.slow
@pytest.mark.usefixtures("load_gate_here")
@pytest.mark.parametrize("phase", ["shadow", "watch"])
def test_a_candidate_that_is_barred_meanwhile_is_withdrawn(served, following, bundles, phase):
    store, source, _ = served
    waits = {"shadow": {"shadow_s": 60.0}, "watch": {"watch_s": 60.0}}[phase]
    with following(source=source("models:/Reach@champion"), **waits) as robot:
        store.set_alias("Reach", "champion", 2)
        robot.until(lambda state: state.phase == phase)
        store.set_version_tags("Reach", 2, {BARRED_TAG: WHY})
        robot.until(lambda state: "refused" in state.counts)
        assert robot.kinds[-2:] == ["withdrawn", "refused"]
        assert WHY in robot.follower.status().events[1].text
        assert robot.ask()["parameters"]["bundle_sha256"] == bundle_digest(bundles[0])
        assert not robot.store.bad


@pytest.mark.slow
@pytest.mark.parametrize("address", ["models:/Reach@champion", "models:/Reach/2"])
def test_serve_refuses_a_barred_version(served, tmp_path, address):
    store, _, variables = served
    store.set_alias("Reach", "champion", 2)
    store.set_version_tags("Reach", 2, {BARRED_TAG: WHY})
    command = [sys.executable, "-m", "sacpipe.server", address, "--port", "0"]
    for options in ([], ["--follow", "--store", str(tmp_path / "store")]):
        ended = subprocess.run(
            [*command, *options],
            cwd=tmp_path,
            env=os.environ | variables | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.returncode == 2
        assert SAID.replace("models:/Reach@champion", address) in ended.stderr
