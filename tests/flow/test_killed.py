"""`kill -9` of DVC and its stage at once, as the kernel does it to a machine without memory."""

import signal
import subprocess
import sys

import pytest
from folder_digest import sha256_tree
from small_project import environment

REPRO = [sys.executable, "-P", "-m", "dvc", "repro", "train"]
KILL = """
import os, signal, sys
def hook(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("/step-000000000100"):
        os.killpg(0, signal.SIGKILL)
sys.addaudithook(hook)
"""
"""Every Python runs this at its start: the process group is killed before the second checkpoint is renamed."""


@pytest.mark.acceptance
def test_a_killed_dvc_repro_goes_on_to_the_same_bytes(fresh, finished, tmp_path):
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(KILL)
    killed = subprocess.run(
        REPRO,
        cwd=fresh,
        capture_output=True,
        check=False,
        env=environment() | {"PYTHONPATH": str(tmp_path / "hook")},
        start_new_session=True,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert [path.name for path in fresh.glob("work/*/checkpoints/step-*")] == ["step-000000000050"]
    again = subprocess.run(REPRO, cwd=fresh, capture_output=True, text=True, check=False, env=environment())
    assert again.returncode == 0, again.stdout + again.stderr
    assert sha256_tree(fresh / "out" / "train") == sha256_tree(finished / "out" / "train")
