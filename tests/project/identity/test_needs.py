"""What stages depend on is found, and nothing else; what dvc.yaml does not name is refused."""

import ast
import hashlib
import importlib.metadata
import json
import py_compile
import shutil
import subprocess
import sys

import pytest
import small_project
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


@pytest.mark.parametrize("suite", SUITES.ours)
def test_run_depends_on_its_own_suite_alone(suite):
    module = SUITES.ours[suite].partition(":")[0]
    needed = product_needs(ROOT, "train", [module, SAC])
    suites = {path.partition(":")[0].replace(".", "/") + ".py" for path in SUITES.ours.values()}
    assert needed.files & suites == {module.replace(".", "/") + ".py"}
    registered = {"gymnasium", "mujoco"}
    simulators = {
        "gymnasium": registered,
        "gymnasium_robotics": registered,
        "dm_control": {"dm_control", "mujoco"},
        "robosuite": {"mujoco"},
    }
    assert needed.packages == {"numpy", "torch"} | simulators.get(suite, set())
    assert SUITE_TASKS[suite]


def test_a_model_of_ours_counts_where_its_task_counts():
    tasks = ("pusher_2d", "ant_maze", "multi_goal")
    needed = [product_needs(ROOT, "train", [f"sacpipe.envs.softlearning.{task}", SAC]) for task in tasks]
    assert ["sacpipe/envs/softlearning/models" in found.files for found in needed] == [True, True, False]
    assert ["mujoco" in found.packages for found in needed] == [True, True, False]


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


def stage(folder, name="train", env=None):
    """Run a stage; the code and the error."""
    done = small_project.stage(folder, name, env)
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
    code, said = stage(arm)  # goes on from the checkpoint at the end, and reads nothing more
    assert code == 2
    assert "- robot/late.txt" in said
    dvc_yaml = arm / "dvc.yaml"
    dvc_yaml.write_text(dvc_yaml.read_text().replace("    deps:\n", "    deps:\n      - robot/late.txt\n", 1))
    assert stage(arm)[0] == 0


def test_product_has_no_import_inside_a_function_that_the_list_would_miss():
    """An import by a computed name is not followed: only the tables import so."""
    found = set()
    for path in (ROOT / "sacpipe").rglob("*.py"):
        source = path.read_text()
        if "import_module" in source and any(
            isinstance(node, ast.Name | ast.alias)
            and "import_module" in str(getattr(node, "id", getattr(node, "name", "")))
            for node in ast.walk(ast.parse(source))
        ):
            found.add(path.relative_to(ROOT).as_posix())
    assert found <= {"sacpipe/__init__.py", "sacpipe/core/members.py"}


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


_POINT = """
import gymnasium as gym
import numpy as np
from pathlib import Path
HERE = Path(__file__).parent
{code}
class Point(gym.Env):
    def __init__(self):
        self.action_space = gym.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = gym.spaces.Box(-9.0, 9.0, (1,), np.float32)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(-1, 1)
        return np.array([self.x], np.float32), {{}}
    def step(self, action):
        self.x *= 0.9
        return np.array([self.x], np.float32), -abs(self.x) - float(abs(action[0])), False, False, {{}}
gym.register("Point-v0", entry_point=__name__ + ":Point", max_episode_steps=20)
"""


def own_needs(folder):
    return {
        path
        for path in listed_needs(folder, "train").files
        if not path.startswith(("sacpipe/", "pipelines/stages/"))
    }


def make_point(arm, code, module="my_tasks"):
    path = arm / f"{module.replace('.', '/')}.py"
    path.write_text(_POINT.format(code=code))
    params = arm / "params.yaml"
    params.write_text(params.read_text().replace("my_tasks:Arm-v0", f"{module}:Point-v0"))
    return arm


@pytest.mark.slow
@pytest.mark.parametrize(("module", "code", "named"), [
    ("my_tasks", "from sacpipe.robot.policy import OnnxPolicy", "sacpipe/robot/policy.py"),
    ("my_tasks", "from sacpipe.project.workspace import Workspace", None),
    ("pipelines.my_tasks", "(HERE / 'gains.yaml').read_text()", "pipelines/gains.yaml"),
    ("pipelines.my_tasks", "", "pipelines/my_tasks.py"),
])  # fmt: skip
def test_lock_names_what_the_stage_demands_of_a_task_that_uses_the_product(arm, module, code, named):
    (arm / "pipelines/gains.yaml").write_text("p: 1.0\n")
    make_point(arm, code, module)
    sacpipe(arm, "lock", check=0)
    assert named is None or named in listed_needs(arm, "train").files
    code, said = stage(arm)
    assert code == 0, said


@pytest.mark.slow
def test_file_that_is_read_when_the_task_is_imported_is_named_by_every_command(arm):
    make_point(arm, "import yaml\nGAINS = yaml.safe_load((HERE / 'robot/gains.yaml').read_text())")
    assert "robot/gains.yaml" in sacpipe(arm, "check-env", check=0).out
    sacpipe(arm, "params", "gymnasium/my_tasks:Point-v0", "--output", "params.yaml", check=0)
    assert own_needs(arm) == {"my_tasks.py", "robot/gains.yaml"}
    assert "pyyaml" in read_yaml(arm / "versions.lock"), "a key of dvc.yaml without a version stops DVC"
    before = (arm / "dvc.yaml").read_text()
    sacpipe(arm, "lock", check=0)
    assert (arm / "dvc.yaml").read_text() == before


@pytest.mark.slow
def test_only_files_opened_while_the_task_is_tried_count(arm):
    """Prefect reads pyproject.toml between the two times that `sacpipe run` writes the lines."""
    make_point(arm, "")
    code = (
        "from pathlib import Path\n"
        "from sacpipe.project.identity.lock import lock_project\n"
        "from sacpipe.project.workspace import Workspace\n"
        "workspace = Workspace.enter()\n"
        "lock_project(workspace, keeps_versions=True); Path('pyproject.toml').read_text(); lock_project(workspace, keeps_versions=True)\n"
    )
    (arm / "my_script.py").write_text(code)
    subprocess.run([sys.executable, "my_script.py"], cwd=arm, check=True, capture_output=True)
    assert own_needs(arm) == {"my_tasks.py"}


@pytest.mark.slow
def test_package_outside_of_the_project_that_an_own_module_imports_is_named(arm, tmp_path_factory):
    """A file is opened by its first import only; later ones find its byte code."""
    base = tmp_path_factory.mktemp("editable")
    (base / "my_utils.py").write_text("K = 1.0\n")
    py_compile.compile(str(base / "my_utils.py"))
    make_point(arm, "import my_utils")
    temporary = tmp_path_factory.mktemp("temporary")
    sacpipe(arm, "lock", env={"PYTHONPATH": str(base), "TMPDIR": str(temporary)}, check=0)
    assert own_needs(arm) == {"my_tasks.py", str(base / "my_utils.py")}


@pytest.mark.slow
def test_evaluation_of_outputs_that_are_links_to_a_cache_elsewhere_is_not_refused(arm, tmp_path_factory):
    make_point(arm, "")
    sacpipe(arm, "lock", check=0)
    for name in ("train", "export"):
        assert stage(arm, name)[0] == 0
    cache = tmp_path_factory.mktemp("cache") / "files/md5"
    for path in (arm / "out/export/bundle").iterdir():
        digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        target = cache / digest[:2] / digest[2:]
        target.parent.mkdir(parents=True)
        path.rename(target)
        path.symlink_to(target)
    temporary = tmp_path_factory.mktemp("temporary")
    code, said = stage(arm, "evaluate", env={"TMPDIR": str(temporary)})
    assert code == 0, said


@pytest.mark.slow
def test_stage_whose_command_has_options_gets_its_lines(arm):
    graph = arm / "dvc.yaml"
    graph.write_text(graph.read_text().replace("cmd: python -m", "cmd: nice -n 5 python -u -m"))
    sacpipe(arm, "lock", check=0)
    assert own_needs(arm) == OWN


@pytest.mark.slow
def test_metadata_of_packages_that_a_stage_looks_up_is_no_dependency(arm):
    """`make` leaves sacpipe.egg-info in the folder, and a stage asks which distribution has `yaml`."""
    (arm / "sacpipe.egg-info").mkdir()
    (arm / "sacpipe.egg-info" / "PKG-INFO").write_text(
        "Metadata-Version: 2.1\nName: sacpipe\nVersion: 0.1.0\n"
    )
    (arm / "sacpipe.egg-info" / "top_level.txt").write_text("sacpipe\n")
    sacpipe(arm, "lock", check=0)
    code, said = stage(arm)
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["far_tool.egg-info", "far_tool-1.0.dist-info"])
def test_metadata_beside_an_editable_package_outside_of_the_project_is_no_dependency(
    arm, tmp_path_factory, name
):
    """A task that asks which distributions there are makes Python read the metadata of all on its path."""
    base = tmp_path_factory.mktemp("editable")
    (base / name).mkdir()
    for file in ("PKG-INFO", "METADATA"):
        (base / name / file).write_text("Metadata-Version: 2.1\nName: far_tool\nVersion: 1.0\n")
    (base / name / "top_level.txt").write_text("far_tool\n")
    (base / name / "RECORD").write_text("far_tool.py,,\n")
    make_point(arm, "import importlib.metadata\nimportlib.metadata.packages_distributions()")
    outside = {"PYTHONPATH": str(base), "TMPDIR": str(tmp_path_factory.mktemp("temporary"))}
    sacpipe(arm, "lock", env=outside, check=0)
    assert own_needs(arm) == {"my_tasks.py"}
    code, said = stage(arm, env=outside)
    assert code == 0, said


@pytest.mark.slow
def test_sources_of_the_kernels_are_named_and_their_library_is_not(arm, tmp_path_factory):
    make_point(arm, "from sacpipe.kernels.library import load\nload().sacpipe_fma_peak")
    cache = tmp_path_factory.mktemp("cache")
    outside = {"XDG_CACHE_HOME": str(cache), "TMPDIR": str(tmp_path_factory.mktemp("temporary"))}
    sacpipe(arm, "lock", env=outside, check=0)
    assert own_needs(arm) == {"my_tasks.py"}
    named = {path for path in listed_needs(arm, "train").files if path.startswith("sacpipe/kernels/")}
    assert {"sacpipe/kernels/build.py", "sacpipe/kernels/csrc", "sacpipe/kernels/isa.py"} <= named
    assert "sacpipe/kernels/cache.py" not in named
    for _ in ("built", "found"):
        code, said = stage(arm, env=outside)
        assert code == 0, said
        shutil.rmtree(arm / "out")
        assert list((cache / "sacpipe" / "kernels").glob("*.so"))
