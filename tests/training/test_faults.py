"""Killed, refused and cut off at random moments, a run gives the bytes of one that was left alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("faults.py")
KINDS = ("kill", "term", "operation", "full", "torn", "power", "mixed")


@pytest.mark.acceptance
@pytest.mark.parametrize("environments", ["1", "3"])
def test_no_fault_changes_the_outputs_or_costs_a_checkpoint(memory_folder, environments):
    """Two faults of each kind; docs/checkpoint.md has the command for more of them."""
    command = [sys.executable, str(SCRIPT), "--environments", environments]
    command += [str(memory_folder / "trial"), "1", "2", *KINDS]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    found = {name: report[name] for name in ("different", "lost", "failed", "leftovers")}
    assert found == {"different": [], "lost": [], "failed": [], "leftovers": []}
    assert sum(report["faults"].values()) >= 2 * len(KINDS)
    assert report["counts"]["checkpoints"] > report["counts"]["cases"]
