"""Edits of an own task, of the product and of installed packages, as `dvc status` and the commands see them."""

import json
import subprocess
import sys

import pytest
from own_task import make_arm
from small_project import dvc, environment, sacpipe

from sacpipe.project.identity.versions import installed_version


@pytest.fixture(scope="module")
def arm(tmp_path_factory):
    """The finished project with a task of its own."""
    folder = make_arm(tmp_path_factory.mktemp("arm"))
    sacpipe(folder, "lock", check=0)
    dvc(folder, "repro", "--quiet")
    assert json.loads(dvc(folder, "status", "--json")) == {}
    return folder


def edit(folder, path, old, new):
    text = (folder / path).read_text()
    assert old in text
    (folder / path).write_text(text.replace(old, new, 1))
    return text


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("my_helper.py", "-abs(x)", "-9 * abs(x)"),
        ("my_tasks.py", "float(action[0])", "float(action[0]) * 9"),
        ("robot/joint.xml", 'mass="1.0"', 'mass="9.0"'),
        ("robot/gains.yaml", "p: 1.0", "p: 9.0"),
        ("sacpipe/envs/gymnasium.py", '"""', '"""Other: '),
        ("sacpipe/algorithms/losses.py", '"""', '"""Other: '),
    ],
)
def test_edit_of_what_training_reads_is_seen(arm, path, old, new):
    text = edit(arm, path, old, new)
    try:
        changed = json.loads(dvc(arm, "status", "--json", "train"))["train"]
    finally:
        (arm / path).write_text(text)
    assert changed == [{"changed deps": {path: "modified"}}]


@pytest.mark.acceptance
def test_edit_of_what_training_does_not_load_is_not_seen(arm):
    paths = ["sacpipe/envs/rendering/camera.py", "sacpipe/envs/dm_control.py", "sacpipe/envs/point_mass.py",
             "sacpipe/robot/recording/recorder.py", "sacpipe/testing/environments.py", "sacpipe/report/page.py"]  # fmt: skip
    texts = {path: edit(arm, path, '"""', '"""Other: ') for path in paths}
    new = [arm / "sacpipe/algorithms/td9.py", arm / "sacpipe/envs/mine.py", arm / "robot/spare.xml"]
    try:
        for path in new:
            path.write_text("")
        assert json.loads(dvc(arm, "status", "--json")) == {}
    finally:
        for path, text in texts.items():
            (arm / path).write_text(text)
        for path in new:
            path.unlink()


@pytest.fixture
def other_mujoco(tmp_path):
    """The environment of a process for which another MuJoCo is installed."""
    folder = tmp_path / "installed" / "mujoco-9.9.9.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: mujoco\nVersion: 9.9.9\n")
    return {"PYTHONPATH": str(folder.parent)}


@pytest.mark.acceptance
@pytest.mark.parametrize(
    "command", ["run", "lineage", "report", "pool check", "simulate", "tasks", "params point-mass-v0"]
)
def test_other_version_ends_every_command(arm, other_mujoco, command):
    found = sacpipe(arm, *command.split(), env=other_mujoco)
    assert found.code == 2
    assert f"mujoco 9.9.9 is installed, {installed_version('mujoco')} in versions.lock" in found.err
    assert "sacpipe lock" in found.err


@pytest.mark.acceptance
@pytest.mark.parametrize("stage", ["train", "export", "evaluate"])
def test_other_version_ends_every_stage(arm, other_mujoco, stage):
    command = [sys.executable, "-m", f"pipelines.stages.{stage}"]
    done = subprocess.run(
        command, cwd=arm, capture_output=True, text=True, check=False, env=environment() | other_mujoco
    )
    assert done.returncode == 2
    assert "sacpipe lock" in done.stderr


@pytest.mark.acceptance
def test_lock_makes_the_stages_of_another_version_stale(arm, other_mujoco):
    before = (arm / "versions.lock").read_text()
    try:
        found = sacpipe(arm, "lock", env=other_mujoco, check=0)
        assert found.out == f"versions.lock: mujoco: {installed_version('mujoco')} -> 9.9.9\n"
        changed = json.loads(dvc(arm, "status", "--json"))
    finally:
        (arm / "versions.lock").write_text(before)
    assert set(changed) == {"train", "evaluate"}  # export does not simulate
    assert changed["train"] == [{"changed deps": {"versions.lock": {"mujoco": "modified"}}}]


@pytest.mark.acceptance
def test_run_names_what_a_new_task_needs_and_trains_it_again_after_an_edit(tmp_path):
    folder = make_arm(tmp_path / "arm")
    first = sacpipe(folder, "run", "--engine", "local", check=0)
    assert f"versions.lock: pyyaml: new -> {installed_version('pyyaml')}" in first.err
    assert "dvc.yaml: dependencies of stage 'train' written" in first.err
    again = sacpipe(folder, "run", "--engine", "local", check=0)
    assert "train unchanged, export unchanged, evaluate unchanged" in again.out
    edit(folder, "robot/joint.xml", 'mass="1.0"', 'mass="9.0"')
    edited = sacpipe(folder, "run", "--engine", "local", check=0)
    assert "train ran, export ran, evaluate ran" in edited.out
