"""Damaged and dishonest bundles: refused by the right rule, in bounded time and memory, by whole processes.

Each bundle passes through `sacpipe check` and through the child of a follower.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from damaged_files import DAMAGED
from dishonest_contracts import CONTRACTS, SIGNATURES
from hostile_graphs import GRAPHS, install
from repository import ROOT

from sacpipe.bundle.signature import read_public_key

pytestmark = pytest.mark.attack

PROBE = Path(__file__).parent / "gate_probe.py"
MAX_MEMORY_BYTES = 2**30
MAX_TIME_S = 75.0
"""The child's own limit is 60 s."""
ROWS = {
    **{f"file, {kind}": row for kind, row in DAMAGED.items()},
    **{f"contract, {kind}": row for kind, row in CONTRACTS.items()},
    **{f"signature, {kind}": row for kind, row in SIGNATURES.items()},
    **{
        f"graph, {kind}": (lambda folder, change=change: install(folder, change), rules)
        for kind, (change, rules) in GRAPHS.items()
    },
}

LONG = {"graph, seconds for an action"}
"""Refused at the end of the child's time."""
PARAMETERS = [pytest.param(kind, marks=pytest.mark.slow if kind in LONG else ()) for kind in ROWS]


def run_measured(command, folder):
    """Run a command; return exit code, stdout, stderr, and the largest memory of it and its children."""
    with (folder / "stdout").open("w+b") as output, (folder / "stderr").open("w+b") as errors:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=output, stderr=errors, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
        timer = threading.Timer(MAX_TIME_S, process.kill)
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        return process.returncode, output.read().decode(), errors.read().decode(), usage.ru_maxrss * 1024


@pytest.fixture
def forge(bundles, tmp_path):
    """Return a function that makes the row's bundle: its path and the keys that the operator trusts."""

    def make(kind):
        folder = tmp_path / "bundle"
        shutil.copytree(bundles[0], folder)
        path = ROWS[kind][0](folder) or folder
        key = tmp_path / "key"
        return path, [read_public_key(key)] if key.exists() else []

    return make


@pytest.mark.parametrize("kind", PARAMETERS)
def test_the_followers_child_refuses(kind, forge, tmp_path):
    path, keys = forge(kind)
    begin_s = time.monotonic()
    code, output, errors, memory_bytes = run_measured([sys.executable, PROBE, path, *keys], tmp_path)
    assert code == 0, errors
    found = json.loads(output)
    assert found["rule"] in ROWS[kind][1], found
    assert "Traceback" not in errors
    check_message(found["message"])
    assert memory_bytes < MAX_MEMORY_BYTES, f"{memory_bytes / 2**20:.0f} MiB"
    assert time.monotonic() - begin_s < MAX_TIME_S


@pytest.mark.parametrize("kind", PARAMETERS)
def test_check_refuses(kind, forge, tmp_path):
    path, keys = forge(kind)
    trusted = [word for key in keys for word in ("--public-key", key)]
    begin_s = time.monotonic()
    command = [sys.executable, "-m", "sacpipe.cli.main", "check", path, *trusted]
    code, output, errors, memory_bytes = run_measured(command, tmp_path)
    assert code == 1, f"exit code {code}: {output} {errors[-2000:]}"
    rule = re.search(r"refused by the rule '(\w+)'", errors)
    assert rule, errors
    assert rule[1] in ROWS[kind][1], errors
    check_message(errors)
    assert memory_bytes < MAX_MEMORY_BYTES, f"{memory_bytes / 2**20:.0f} MiB"
    assert time.monotonic() - begin_s < MAX_TIME_S


def check_message(text):
    """A message is one line of bounded length that controls no terminal."""
    assert len(text) < 4000
    assert text.rstrip("\n").isprintable()


def test_the_good_bundle_passes(bundles, tmp_path):
    code, output, errors, memory_bytes = run_measured([sys.executable, PROBE, bundles[0]], tmp_path)
    assert (code, json.loads(output)["rule"]) == (0, None), errors
    assert memory_bytes < MAX_MEMORY_BYTES / 2
