"""`sacpipe serve --follow`: a promotion in the workspace's registry becomes active while requests go on.

What was rolled back in the registry does not begin to act again: not where the next bundle fails, not at a start.
"""

import itertools
import json
import shutil
import urllib.request

import numpy as np
import onnx
import pytest
from follow_fixtures import stopping
from onnx import numpy_helper
from served_project import OBSERVATIONS, bundle_of, champion, post, serving

from sacpipe.bundle.files import bundle_digest
from sacpipe.bundle.golden import Golden
from sacpipe.bundle.reader import open_bundle
from sacpipe.bundle.writer import write_bundle
from sacpipe.project.workspace import Workspace
from sacpipe.robot.policy import session_options
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.registry import BARRED_TAG

TERMS = "poll_s: 0.1\nrollout: {shadow_s: 0, min_shadow_steps: 20, watch_s: 0}\n"
TENSOR = {"name": "observation", "shape": [2, 4], "datatype": "FP32", "data": OBSERVATIONS.tolist()}


def nudge(folder, target):
    """Write a bundle again with weights that are a little smaller."""
    import onnxruntime

    bundle = open_bundle(folder)
    model = onnx.load_model_from_string(bundle.policy_onnx)
    weights = next(one for one in model.graph.initializer if numpy_helper.to_array(one).shape == (16, 16))
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(0.99), weights.name))
    policy_onnx = model.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(policy_onnx, session_options())
    observations = bundle.golden.observations
    rows = [observations.rows(slice(row, row + 1)) for row in range(len(observations.vector))]
    actions = np.concatenate([session.run(None, dict(row))[0] for row in rows])
    write_bundle(target, policy_onnx, bundle.contract, Golden(observations, actions, None))
    return target


@pytest.fixture
def workspace(finished, empty_ledger, tmp_path):
    """The finished project's params, with a registry of its own to promote in."""
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(finished / name, tmp_path / name)
    (tmp_path / ".sacpipe").mkdir()
    shutil.copy(empty_ledger, tmp_path / ".sacpipe" / "mlflow.db")
    (tmp_path / "terms.yaml").write_text(TERMS)
    return tmp_path


def registered(workspace, name, bundles):
    """Register bundles as the versions 1, 2, ..., the first as champion; return the registry."""
    ledger = open_ledger(Workspace(workspace))
    run_id = ledger.ensure_run("ab" * 32, "export", {}, {})
    for bundle in bundles:
        ledger.registry.register(name, ledger.log_model(run_id, bundle), run_id, bundle_digest(bundle), {})
    ledger.registry.set_alias(name, "champion", 1)
    return ledger.registry


@pytest.mark.acceptance
@pytest.mark.parametrize("tracking", ["mlflow", "folder"])
def test_a_promotion_becomes_active_and_every_request_is_answered(
    finished, workspace, tmp_path, monkeypatch, tracking
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (workspace / "sacpipe.yaml").write_text(f"tracking: {tracking}\n")
    address = champion(finished)
    name = address.removeprefix("models:/").removesuffix("@champion")
    bundles = [bundle_of(finished), nudge(bundle_of(finished), tmp_path / "next")]
    digests = [bundle_digest(bundle) for bundle in bundles]
    registry = registered(workspace, name, bundles)
    with serving(workspace, "--follow", "--terms", "terms.yaml", "--port", "0", until=" at http://") as said:
        server = said.strip().rpartition(" ")[2]

        def answered():
            return post(f"{server}/v2/models/policy/infer", {"inputs": [TENSOR]})["parameters"][
                "bundle_sha256"
            ]

        assert answered() == digests[0]
        registry.set_alias(name, "champion", 2)
        served = list(itertools.takewhile(lambda digest: digest == digests[0], iter(answered, None)))
        assert len(served) >= 10  # 20 steps in the shadow, two to a request
        kinds = []
        while "watch" not in kinds:  # it acts a moment before that is noted
            with urllib.request.urlopen(f"{server}/status.json", timeout=60) as response:
                following = json.load(response)["follower"]
            kinds = [event["kind"] for event in reversed(following["events"])]
        assert answered() == digests[1]
    assert kinds[:4] == ["started", "noticed", "shadow", "watch"]
    assert following["source"] == f"{address} version 2"
    assert (workspace / ".sacpipe" / "robot" / "sha256" / digests[1]).is_dir()


def stop(folder, target):
    """Write a bundle again, so that it stops the robot as soon as its action changes."""
    bundle = open_bundle(folder)
    write_bundle(target, bundle.policy_onnx, stopping(bundle.contract), bundle.golden)
    return target


class Robot:
    """A robot that asks a server of the workspace."""

    def __init__(self, said):
        self.server = said.strip().rpartition(" ")[2]

    def ask(self, row=0, **parameters):
        tensor = TENSOR | {"shape": [1, 4], "data": OBSERVATIONS[row : row + 1].tolist()}
        body = {"inputs": [tensor], "parameters": parameters}
        return post(f"{self.server}/v2/models/policy/infer", body)["parameters"]

    def events(self):
        with urllib.request.urlopen(f"{self.server}/status.json", timeout=60) as response:
            return {event["kind"]: event["text"] for event in json.load(response)["follower"]["events"]}

    def until(self, kind):
        """Ask for actions until there is an event."""
        while kind not in self.events():
            self.ask()


@pytest.mark.acceptance
@pytest.mark.parametrize("tracking", ["mlflow", "folder"])
def test_what_was_rolled_back_acts_again_neither_after_a_failure_nor_after_a_restart(
    finished, workspace, tmp_path, monkeypatch, tracking
):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (workspace / "sacpipe.yaml").write_text(f"tracking: {tracking}\n")
    name = champion(finished).removeprefix("models:/").removesuffix("@champion")
    first, second = bundle_of(finished), nudge(bundle_of(finished), tmp_path / "second")
    bundles = [first, second, stop(first, tmp_path / "third")]
    digests = [bundle_digest(bundle) for bundle in bundles]
    registry = registered(workspace, name, bundles)
    options = ("--follow", "--terms", "terms.yaml", "--port", "0")
    with serving(workspace, *options, until=" at http://") as said:
        robot = Robot(said)
        registry.set_alias(name, "champion", 2)
        robot.until("accepted")
    (workspace / "terms.yaml").write_text(TERMS.replace("watch_s: 0", "watch_s: 600"))
    with serving(workspace, *options, until=" at http://") as said:
        robot = Robot(said)
        assert robot.ask()["bundle_sha256"] == digests[1]
        robot.ask(sequence_id=1, sequence_start=True)
        registry.set_version_tags(name, 2, {BARRED_TAG: "it shook"})  # as `sacpipe rollback` does
        registry.set_alias(name, "champion", 3)
        robot.until("watch")
        assert "it is barred: it shook; it acts until" in robot.events()["barred"]
        assert {robot.ask(row % 2, sequence_id=1)["verdict"] for row in range(4)} >= {"stopped"}
        robot.until("rolled_back")
        assert f"bundle {digests[0][:12]} acts now" in robot.events()["rolled_back"]
        assert robot.ask()["bundle_sha256"] == digests[0]
    registry.set_version_tags(name, 1, {BARRED_TAG: "it is old"})
    registry.set_version_tags(name, 2, {BARRED_TAG: ""})  # as `sacpipe promote --again` does
    registry.set_alias(name, "champion", 2)
    with serving(workspace, *options, until=" at http://") as said:
        robot = Robot(said)
        assert robot.ask()["bundle_sha256"] == digests[1]
        assert robot.events()["started"] == "in service since the start"
