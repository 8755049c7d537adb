"""The registered model behind MLflow's own server gives the bundle's actions."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import numpy as np
from project import environment

from sacpipe.serving.policy import OnnxPolicy


def test_the_served_champion_answers_as_the_bundle(finished):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "serve", "--port", str(port)],
        cwd=finished,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        said = ""
        for line in server.stderr:
            said += line
            if "Uvicorn running on" in line:
                break
        assert f"127.0.0.1:{port}" in said, said
        observations = np.array([[0.5, -0.25, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations",
            data=json.dumps({"inputs": observations.tolist()}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        server.stderr.close()
    policy = OnnxPolicy(finished / "out" / "export" / "bundle")
    expected = [policy.act(observation) for observation in observations]
    found = answer["predictions"]
    found = (
        found["action"]
        if isinstance(found, dict)
        else [row["action"] if isinstance(row, dict) else row for row in found]
    )
    np.testing.assert_allclose(np.asarray(found, dtype=np.float32), expected, atol=1e-6)
