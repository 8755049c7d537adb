"""The staircase, the robot's door, and how quick the command line answers."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT

HEAVY = {
    "torch",
    "mlflow",
    "dvc",
    "prefect",
    "gymnasium",
    "mujoco",
    "dm_control",
    "onnx",
    "safetensors",
    "rich",
}
ROBOT = [
    "sacpipe",
    "sacpipe.bundle.reader",
    "sacpipe.specs.records",
    "sacpipe.robot.policy",
    "sacpipe.server.__main__",
    "sacpipe.simulation.open_policy",
]


def modules_after(statement):
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(result.stdout.split())


@pytest.mark.parametrize("module", ROBOT)
def test_the_robots_part_loads_no_training_package(module):
    assert not HEAVY & modules_after(f"import {module}")


def test_the_robots_recorder_loads_no_training_package_but_the_pools_format():
    assert HEAVY & modules_after("import sacpipe.robot.recording.recorder") == {"safetensors"}


def test_a_command_that_a_robot_lacks_packages_for_says_which():
    script = "import sys\nsys.modules['pathspec'] = None\nfrom sacpipe.cli.main import main\nsys.exit(main(['run']))"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert "`sacpipe run` needs the package 'pathspec'" in result.stderr
    assert "pip install sacpipe[train,pipeline]" in result.stderr


def test_the_command_line_loads_nothing_heavy_before_it_must():
    loaded = modules_after("import sacpipe.cli.main\nsacpipe.cli.main.build_parser()")
    assert not (HEAVY | {"numpy", "pydantic", "onnxruntime"}) & loaded


def test_import_contracts_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    result = subprocess.run([lint, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stdout


def test_packages_re_export_nothing():
    """A friendly import in an `__init__` would carry torch onto the robot with every static rule still green."""
    tables = {"algorithms", "envs"}
    for path in (ROOT / "sacpipe").rglob("__init__.py"):
        if path.parent.name not in tables:
            assert "import" not in path.read_text().split('"""')[2], path
