"""`sacpipe serve` in a project's folder, in a process of its own, and requests to it."""

import json
import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import contextmanager

import numpy as np
from small_project import environment

from sacpipe.params.model import Params
from sacpipe.robot.policy import OnnxPolicy

OBSERVATIONS = np.array([[0.5, -0.25, 0.1, 0.0], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)


def bundle_of(project):
    return project / "out" / "export" / "bundle"


def expected(project):
    policy = OnnxPolicy(bundle_of(project))
    return [policy.act({"position": row[:2], "velocity": row[2:]}) for row in OBSERVATIONS]


@contextmanager
def serving(folder, *arguments, until):
    """Run `sacpipe serve` until the block ends; yields its output up to a line with a text."""
    server = subprocess.Popen(
        [sys.executable, "-m", "sacpipe.cli.main", "serve", *arguments],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(),
        start_new_session=True,
    )
    try:
        output = ""
        for line in server.stderr:
            output += line
            if until in line:
                break
        yield output
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
        server.stderr.close()


def post(address, tree):
    request = urllib.request.Request(address, json.dumps(tree).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def champion(project):
    return f"models:/{Params.load(project / 'params.yaml').release.model_name}@champion"
