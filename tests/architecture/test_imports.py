"""What importing a package loads: nothing of training on a robot, and nothing heavy for the command line."""

import subprocess
import sys

import pytest
from repository import ROBOT, ROOT

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
ENTRIES = (
    "sacpipe",
    "sacpipe.bundle.reader",
    "sacpipe.specs.records",
    "sacpipe.robot.policy",
    "sacpipe.server.__main__",
    "sacpipe.simulation.open_policy",
    "sacpipe.tracking.folder.config",
    "sacpipe.tracking.mlflow.config",
)
"""What is imported where a policy runs and nothing is recorded."""


def modules_after(statement):
    script = f"import sys\n{statement}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(result.stdout.split())


def robot_modules():
    """Walk every module of the packages that a robot installs."""
    for name in ROBOT:
        for path in sorted((ROOT / "sacpipe" / name.replace(".", "/")).rglob("*.py")):
            yield ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def test_running_a_policy_loads_no_training_package():
    assert not HEAVY & modules_after("\n".join(f"import {name}" for name in ENTRIES))


@pytest.mark.parametrize(
    "modules", [["sacpipe.robot.recording.recorder"], [*robot_modules()]], ids=["recorder", "all"]
)
def test_the_robots_packages_load_no_training_package_but_the_pools_format(modules):
    assert HEAVY & modules_after("\n".join(f"import {name}" for name in modules)) == {"safetensors"}


@pytest.mark.slow
def test_every_benchmark_finds_what_it_imports():
    names = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
    assert {"rows", "engine"} <= set(names)
    modules_after("\n".join(["sys.path.append('benchmarks')", *(f"import {name}" for name in names)]))


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


def test_packages_re_export_nothing():
    """An import in an `__init__` would load torch on the robot with every import contract still kept.

    Tables of members are imported as a whole; the public API imports when it is used.
    """
    tables = {"algorithms", "engines", "envs", "policies", "samplers", "sacpipe", "trunks"}
    for path in (ROOT / "sacpipe").rglob("__init__.py"):
        if path.parent.name not in tables:
            assert "import" not in path.read_text().split('"""')[2], path
