"""The champion over HTTP gives the bundle's actions: by our own server, and by MLflow's."""

import socket
import subprocess
import sys

import numpy as np
import pytest
from served_project import OBSERVATIONS, bundle_of, expected, post, serving

from sacpipe.bundle.files import bundle_digest


@pytest.mark.parametrize("which", ["default", "folder"])
def test_our_server_answers_as_the_bundle(finished, which):
    named = {"default": [], "folder": ["out/export/bundle"]}[which]
    with serving(finished, *named, "--port", "0", "--name", "arm", until=" at http://") as output:
        address = output.strip().rpartition(" ")[2]
        tensor = {"name": "observation", "shape": [2, 4], "datatype": "FP32", "data": OBSERVATIONS.tolist()}
        answer = post(f"{address}/v2/models/arm/infer", {"inputs": [tensor]})
    assert answer["parameters"]["bundle_sha256"] == bundle_digest(bundle_of(finished))
    found = np.array(answer["outputs"][0]["data"], np.float32).reshape(answer["outputs"][0]["shape"])
    np.testing.assert_array_equal(found, expected(finished))


TRACKER = """
from sacpipe.core.errors import StoreError
from sacpipe.tracking.tracker import TrackerConfig


class Own(TrackerConfig):
    name: str

    def source(self, address, state, variables):
        raise StoreError(f"asked for {address}")
"""
WHOLE = f"{TRACKER}\n    def open_tracker(self, state, variables): ...\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "found"), [(WHOLE, "asked for models:/arm/1"), (TRACKER, "lacks the methods open_tracker")]
)
def test_a_tracker_of_the_project_is_found(tmp_path, source, found):
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    (tmp_path / "sacpipe.yaml").write_text("tracking: own_tracker:Own\n")
    (tmp_path / "own_tracker.py").write_text(source)
    command = [sys.executable, "-P", "-m", "sacpipe.cli.main", "serve", "models:/arm/1"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found in result.stderr


@pytest.mark.acceptance
def test_mlflows_own_server_answers_as_the_bundle(finished):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with serving(finished, "--mlflow", "--port", str(port), until="Uvicorn running on") as output:
        assert f"127.0.0.1:{port}" in output, output
        terms = {"position": OBSERVATIONS[:, :2].tolist(), "velocity": OBSERVATIONS[:, 2:].tolist()}
        answer = post(f"http://127.0.0.1:{port}/invocations", {"inputs": terms})
    found = answer["predictions"]
    found = (
        found["action"]
        if isinstance(found, dict)
        else [row["action"] if isinstance(row, dict) else row for row in found]
    )
    np.testing.assert_allclose(np.asarray(found, dtype=np.float32), expected(finished), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "code", "output"),
    [
        ([], 3, "is champion yet. `sacpipe run` registers a candidate"),
        (["nothing-here"], 2, "nothing-here"),
        (["--mlflow", "out/export/bundle"], 2, "--mlflow: expected models:/NAME@ALIAS"),
    ],
)
@pytest.mark.slow
def test_a_policy_that_cannot_be_served_is_named(fresh, call, arguments, code, output):
    outcome = call(fresh, "serve", "--port", "0", *arguments)
    assert (outcome.code, outcome.out) == (code, "")
    assert output in outcome.err
