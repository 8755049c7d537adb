"""A rebuild or a repair of the registry is killed before each of its writes: the next command ends it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("scene", "registry"),
    [
        ("lost registry", "folder"),
        ("lost registry", "mlflow"),
        ("lost champion", "folder"),
        ("lost champion", "mlflow"),
        ("lost champion, then a rebuild", "folder"),
        ("rebuilt champion", "folder"),
        ("damaged files", "mlflow"),
    ],
)
def test_a_kill_before_each_write_is_repaired(
    memory_folder: Path, generations: Path, scene: str, registry: str
) -> None:
    """`killed_repairs.py` has the scenes."""
    script = ROOT / "tests" / "release" / "killed_repairs.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    command = [sys.executable, str(script), str(memory_folder), str(generations), registry, scene]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["wrong"] == {}
    assert report["tries"] >= (1 if scene == "damaged files" else 4)
