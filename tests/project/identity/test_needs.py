"""What stages depend on is found, and nothing else; what dvc.yaml does not name is refused."""

import ast
import importlib.metadata
import json
import subprocess
import sys

import pytest
from factories import SUITE_TASKS
from own_task import OWN, make_arm
from repository import ROOT
from small_project import environment, sacpipe

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.envs import SUITES
from sacpipe.project.identity.dependency_lines import StageNeeds, listed_needs
from sacpipe.project.identity.needs import OUTSIDE_IDENTITY, product_needs, refuse_uncovered

SAC = "sacpipe.algorithms.sac"
STAGES = ("train", "export", "evaluate")


_NEEDS = """
import json
from sacpipe.project.identity.lock import project_needs
from sacpipe.project.workspace import Workspace
needs = project_needs(Workspace.find())
print(json.dumps({stage: [sorted(needed.files), sorted(needed.packages)] for stage, needed in needs.items()}))
"""


@pytest.fixture(scope="module")
def needed():
    """Files and packages by stage, found in a process of its own: this one has opened files of other tasks."""
    done = subprocess.run([sys.executable, "-c", _NEEDS], cwd=ROOT, capture_output=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_the_committed_graph_is_what_lock_writes(needed, stage):
    files, packages = needed[stage]
    named = listed_needs(ROOT, stage)
    assert {path for path in named.files if not path.startswith("out/")} == set(files)
    assert named.packages == set(packages)


def test_committed_versions_are_those_of_the_lock_file():
    pins = dict(
        line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    )
    for name, version in read_yaml(ROOT / "versions.lock").items():
        assert version == pins[name.replace("_", "-")]


@pytest.mark.parametrize("suite", SUITES)
def test_run_depends_on_its_own_suite_alone(suite):
    module = SUITES[suite].partition(":")[0]
    needed = product_needs(ROOT, "train", [module, SAC])
    suites = {SUITES[name].partition(":")[0].replace(".", "/") + ".py" for name in SUITES}
    assert needed.files & suites == {module.replace(".", "/") + ".py"}
    simulators = {"gymnasium": {"gymnasium", "mujoco"}, "dm_control": {"dm_control", "mujoco"}}
    assert needed.packages == {"numpy", "torch"} | simulators.get(suite, set())
    assert SUITE_TASKS[suite]


@pytest.mark.parametrize("path", [
    "sacpipe/envs/rendering/camera.py", "sacpipe/evaluation/video.py", "sacpipe/project/verify.py", "sacpipe/cli/doctor.py",
    "sacpipe/robot/recording/recorder.py", "sacpipe/server/app.py", "sacpipe/report/page.py", "pipelines/flow.py",
    "sacpipe/core/errors.py", "sacpipe/envs/dm_control.py", "sacpipe/envs/point_mass.py", "sacpipe/params/defaults.py",
])  # fmt: skip
def test_code_that_changes_no_result_is_no_dependency(path):
    assert (ROOT / path).is_file()
    assert not [stage for stage in STAGES if path in listed_needs(ROOT, stage).files]


def test_every_path_outside_the_identity_exists():
    assert not [path for path in OUTSIDE_IDENTITY if not (ROOT / path).exists()]


def test_file_and_package_that_are_not_named_are_refused_with_the_lines():
    needed = StageNeeds(frozenset({"my_tasks.py", "sacpipe/core/config.py"}), frozenset({"numpy", "scipy"}))
    with pytest.raises(ConfigError, match=r"- my_tasks\.py\n  - versions\.lock: \[scipy\]$"):
        refuse_uncovered(ROOT, "train", needed)


@pytest.fixture
def arm(tmp_path):
    return make_arm(tmp_path / "arm")


def stage(folder, name="train"):
    """Run a stage as DVC does; the code and the error."""
    command = [sys.executable, "-m", f"pipelines.stages.{name}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.slow
def test_own_task_is_covered_by_its_modules_and_files(arm):
    code, said = stage(arm)
    assert code == 2
    assert all(f"- {path}" in said for path in OWN), said
    assert "versions.lock: [gymnasium, mujoco, pyyaml]" in said
    assert "sacpipe lock" in said
    assert not (arm / "out").exists()
    sacpipe(arm, "lock", check=0)
    own = {
        path for path in listed_needs(arm, "train").files if not path.startswith(("sacpipe/", "pipelines/"))
    }
    assert own == OWN
    assert read_yaml(arm / "versions.lock")["pyyaml"] == importlib.metadata.version("pyyaml")
    assert stage(arm)[0] == 0


@pytest.mark.slow
def test_file_that_is_read_late_publishes_nothing_and_keeps_the_checkpoint(arm):
    tasks = arm / "my_tasks.py"
    tasks.write_text(tasks.read_text().replace("if found[1] > 1e9:", "if self.np_random.random() > 0.99:"))
    sacpipe(arm, "lock", check=0)
    code, said = stage(arm)
    assert code == 2
    assert "- robot/late.txt" in said
    assert not (arm / "out").exists()
    assert list((arm / "work").glob("*/checkpoints/*"))


def test_product_has_no_import_inside_a_function_that_the_list_would_miss():
    """An import by a computed name is not followed: only the tables import so."""
    found = set()
    for path in (ROOT / "sacpipe").rglob("*.py"):
        tree = ast.parse(path.read_text())
        if any(
            isinstance(node, ast.Name | ast.alias)
            and "import_module" in str(getattr(node, "id", getattr(node, "name", "")))
            for node in ast.walk(tree)
        ):
            found.add(path.relative_to(ROOT).as_posix())
    assert found <= {"sacpipe/__init__.py", "sacpipe/envs/__init__.py"}


@pytest.mark.slow
def test_params_for_another_task_are_written_with_its_lines(arm):
    written = sacpipe(arm, "params", "dm_control/cartpole-balance", "--output", "params.yaml", check=0)
    assert "dvc.yaml: dependencies of stage 'train' written" in written.err
    listed = listed_needs(arm, "train")
    assert "sacpipe/envs/dm_control.py" in listed.files
    assert {"dm_control", "mujoco", "numpy", "torch"} == listed.packages


@pytest.mark.slow
def test_task_in_a_folder_outside_of_the_project_is_named_by_its_absolute_path(arm, tmp_path_factory):
    """As an editable installation of a package has it: no version says that its files changed."""
    outside = tmp_path_factory.mktemp("editable")
    package = outside / "src" / "my_robots"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(
        "import gymnasium\ngymnasium.register('Far-v0', entry_point='my_robots.far:Far', max_episode_steps=9)\n"
    )
    (package / "far.py").write_text(
        "from my_tasks import Arm\nfrom .gains import GAIN\nclass Far(Arm):\n    gain = GAIN\n"
    )
    (package / "gains.py").write_text("import scipy\nGAIN = 2.0\n")
    params = arm / "params.yaml"
    params.write_text(params.read_text().replace("my_tasks:Arm-v0", "my_robots:Far-v0"))
    sacpipe(arm, "lock", env={"PYTHONPATH": str(package.parent)}, check=0)
    listed = listed_needs(arm, "train")
    own = {path for path in listed.files if not path.startswith(("sacpipe/", "pipelines/"))}
    assert own == OWN | {str(package / name) for name in ("__init__.py", "far.py", "gains.py")}
    assert {"scipy", "pyyaml"} <= listed.packages


@pytest.mark.slow
def test_what_the_command_itself_opens_is_no_dependency(arm):
    """The command's script, and what was read before the task was tried: packages' metadata, settings."""
    (arm / "pyproject.toml").write_text("[tool.other]\n")
    (arm / "sacpipe.egg-info").mkdir()
    (arm / "sacpipe.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: sacpipe\nVersion: 0.1.0\n"
    )
    (arm / "sac").write_text(
        "import sys\nfrom importlib.metadata import version\nfrom pathlib import Path\n"
        "from sacpipe.cli.main import main\nfrom sacpipe.project.identity.lock import lock_project\n"
        "from sacpipe.project.workspace import Workspace\n"
        "lock_project(Workspace.enter())\nversion('sacpipe')\nPath('notes.txt').write_text('mine')\n"
        "Path('pyproject.toml').read_text()\nopen('robot/readme.txt').read()\nmain(['lock'])\n"
    )
    subprocess.run([sys.executable, "sac"], cwd=arm, check=True, env=environment() | {"PYTHONPATH": str(arm)})
    own = {
        path for path in listed_needs(arm, "train").files if not path.startswith(("sacpipe/", "pipelines/"))
    }
    assert own == OWN
