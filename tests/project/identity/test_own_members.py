"""Own members beside params.yaml, and those of installed packages, are dependencies of the stages that use them."""

import subprocess
import sys

import pytest
from own_members import OWN, make_installation, make_own_members
from small_project import environment, sacpipe

from sacpipe.core.config import read_yaml
from sacpipe.project.identity.dependency_lines import listed_needs
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace


def stage(folder, name="train", env=None):
    """Run a stage as DVC does; the code and the error."""
    command = [sys.executable, "-m", f"pipelines.stages.{name}"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, env=environment() | (env or {})
    )
    return done.returncode, done.stderr


def own_needs(folder, name="train"):
    return {
        path
        for path in listed_needs(folder, name).files
        if not path.startswith(("sacpipe/", "pipelines/", "out/"))
    }


@pytest.mark.acceptance
def test_own_members_and_what_they_read_are_named_and_train(tmp_path):
    folder = make_own_members(tmp_path / "project")
    code, message = stage(folder)
    assert code == 2
    assert all(f"- {path}" in message for path in OWN - {"robot/start.txt"}), message
    sacpipe(folder, "lock", check=0)
    assert own_needs(folder) == OWN
    assert own_needs(folder, "export") == set()
    assert "pyyaml" in listed_needs(folder, "train").packages
    listed = listed_needs(folder, "train").files
    assert {"sacpipe/algorithms/sac.py", "sacpipe/replay/samplers/uniform.py"} <= listed
    assert not {"sacpipe/algorithms/td3.py", "sacpipe/networks/trunks/conv.py"} & listed
    key = stage_key(Workspace(folder), "train")
    for name in ("train", "export", "evaluate"):
        code, message = stage(folder, name)
        assert code == 0, message
    sampler = folder / "my_sampler.py"
    sampler.write_text(sampler.read_text() + "# another sampler\n")
    assert stage_key(Workspace(folder), "train") != key


@pytest.mark.acceptance
def test_installed_package_of_a_member_is_in_versions_lock(tmp_path):
    installed = make_installation(tmp_path)
    folder = make_own_members(tmp_path / "project", algorithm="sac", sampler="far")
    env = {"PYTHONPATH": str(installed)}
    code, message = stage(folder, env=env)
    assert code == 2
    assert "- versions.lock: [far-samplers]" in message
    sacpipe(folder, "lock", env=env, check=0)
    assert read_yaml(folder / "versions.lock")["far-samplers"] == "2.0"
    assert "far-samplers" in listed_needs(folder, "train").packages
    assert "far-samplers" not in listed_needs(folder, "evaluate").packages
    assert own_needs(folder) == set()
    assert stage(folder, env=env)[0] == 0
    make_installation(tmp_path, version="2.1")
    code, message = stage(folder, env=env)
    assert code == 2
    assert "far-samplers 2.1 is installed, 2.0 in versions.lock" in message


@pytest.mark.acceptance
def test_member_of_a_package_that_is_not_installed_is_refused_by_its_key(tmp_path):
    folder = make_own_members(tmp_path / "project", algorithm="sac", sampler="far")
    code, message = stage(folder)
    assert code == 2
    assert "replay.sampler.name: sampler 'far': expected one of uniform" in message
    seen = sacpipe(folder, "lock")
    assert seen.code == 2
    assert "sampler 'far'" in seen.err
