"""Tasks that people write, by the commands: each ends as its docstring says."""

import ast
import json
import os
import shutil
import subprocess
import sys
import urllib.request

import pytest
from repository import ROOT
from small_project import SHORT, environment, make_project, sacpipe, with_few_rules, with_values

from sacpipe.project.identity.dependency_lines import listed_needs

pytestmark = pytest.mark.acceptance

SHARED = ROOT.parent / "shared" / "cases" / "user_tasks.py"
MODULES = [ROOT / "tests" / "own_tasks.py", *([SHARED] if SHARED.is_file() else [])]
OPTIONS = {"Gains": {"gains": [1.0, 2.0], "centre": None, "limits": {"x": [-1, 2]}}}
READS = {"ReadsJson": {"own_tasks.json"}}
SMALL = SHORT | {"hidden_dims": [64, 64], "checkpoint_interval_steps": 50}


def cases():
    for module in MODULES:
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.ClassDef):
                ending = ast.get_docstring(node).partition(".")[0].partition(" ")[0]
                yield pytest.param(module, node.name, ending, id=f"{module.stem}-{node.name}")


@pytest.fixture
def project(tmp_path):
    return make_project(tmp_path / "own project")


def write_params(project, module, name):
    """Print the task's params into params.yaml as a shell does; return the outcome of the command."""
    shutil.copy(module, project)
    (project / "own_tasks.json").write_text('{"scale": 2.0}')
    task = f"gymnasium/{module.stem}:{name}-v0"
    printed = sacpipe(project, "params", task, "--steps", "600")
    if printed.code == 0:
        options = {"options": OPTIONS[name]} if name in OPTIONS else {}
        (project / "params.yaml").write_text(with_values(with_few_rules(printed.out), **SMALL | options))
    return printed


@pytest.mark.parametrize(("module", "name", "ending"), list(cases()))
def test_task_ends_as_its_docstring_says(project, module, name, ending):
    printed = write_params(project, module, name)
    if ending == "refused" and printed.code:
        assert printed.code == 2
        assert f"{name}-v0" in printed.err
        return
    assert printed.code == 0, printed.err
    ran = sacpipe(project, "run", "--engine", "local", "--json")
    checkpoints = list(project.glob("work/*/checkpoints/*"))
    if ending == "accepted":
        assert ran.code == 0, ran.err
        assert json.loads(ran.out)["verdict"]["accepted"]
        files = listed_needs(project, "train").files
        assert {module.name, *READS.get(name, ())} <= files
        assert serves(project)
    elif ending == "refused":
        assert ran.code == 2, ran.err
        assert f"{name}-v0" in ran.err
        assert not checkpoints
    else:
        assert ran.code == 3, ran.err
        assert f"{name}-v0" in ran.err
        assert "episode" in ran.err
        assert "step" in ran.err
        assert checkpoints
        assert not (project / "out" / "train" / "policy.safetensors").exists()


def serves(project):
    """Serve the bundle of the project; return whether it says that it is ready."""
    command = [
        sys.executable,
        "-m",
        "sacpipe.cli.main",
        "serve",
        str(project / "out/export/bundle"),
        "--port",
        "0",
    ]
    with subprocess.Popen(
        command,
        cwd=project,
        env=environment() | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")},
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            line = next(line for line in server.stderr if " at http://" in line)
            address = line.split(" at ")[1].split()[0].rstrip(".,;/")
            with urllib.request.urlopen(f"{address}/v2/health/ready") as answer:
                return answer.status == 200
        finally:
            server.terminate()
