"""Every command in the README is run, on the small project; make's words are asked what they would do."""

import re
import shlex
import shutil
import sqlite3
import subprocess

import pytest
from project_fixtures import RESULT
from repository import ROOT
from ruamel.yaml import YAML
from small_project import environment, git

from sacpipe.bundle.files import bundle_digest

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
LINES = [line.partition("  #")[0].strip() for block in BLOCKS for line in block.splitlines()]
INLINE = re.findall(r"`((?:sacpipe|dvc|make|pip) [^`]+)`", README)
COMMANDS = list(dict.fromkeys(line for line in [*LINES, *INLINE] if line))


def test_the_newcomers_two_commands_come_first():
    assert LINES[:2] == ["make run", "make test"]


@pytest.mark.parametrize("command", [line for line in COMMANDS if line.startswith("make ")])
def test_makes_words_exist(command):
    """CI runs `make check`, `make run` and `make test` for real."""
    result = subprocess.run(
        [*shlex.split(command), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ".venv/bin/" in result.stdout


@pytest.mark.acceptance
def test_commands_run_in_the_order_of_the_tour(finished, tmp_path):
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / ".sacpipe")
    git(folder, "reset", "--quiet", "--hard", RESULT)
    # Nothing but loopback can be reached, and Prefect's home is fresh.
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    ran = []
    for command in COMMANDS:
        if command.startswith(("make ", "pip ", ". .venv")) or command == "sacpipe verify":
            continue  # test_verify.py runs that one on the same project; it trains once more
        if command == "sacpipe run":
            shutil.rmtree(folder / "out" / "evaluate")  # a stage has to run, so Prefect calls the steps
        result = subprocess.run(
            shlex.split(command.replace("FOLDER", str(folder / ".sacpipe" / "dvcstore"))),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env=environment() | nowhere,
        )
        assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
        ran.append(command.split()[0])
    new, old = (bundle_digest(one / "out" / "export" / "bundle") for one in (folder, finished))
    assert new != old  # else the tour promotes what is champion already
    assert ran.count("sacpipe") >= 8
    assert ran.count("dvc") >= 3
    database = sqlite3.connect(folder / ".sacpipe" / "prefect" / "prefect.db")
    kinds = {key for (key,) in database.execute("select key from artifact")}
    tasks = {name for (name,) in database.execute("select name from task_run")}
    database.close()
    assert {"result", "verdict", "lineage", "report"} <= kinds
    for step in ("preflight", "train", "export", "evaluate", "register", "gate", "report", "push", "release"):
        assert any(name.startswith(step) for name in tasks), step


def test_pages_and_files_that_are_named_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        if not target.startswith("http"):
            assert (ROOT / target).exists(), target
    for name in re.findall(r"`((?:sacpipe|pipelines|docs)/[\w/.]+)`", README):
        assert (ROOT / name).exists(), name


def test_ci_calls_what_the_readme_says():
    script = (ROOT / ".ci" / "run").read_text()
    for word in ("make check", "make quick", "make run", "make promote", "make test", "make acceptance"):
        assert word in script


def test_the_remote_is_a_folder_beside_the_project():
    config = (ROOT / ".dvc" / "config").read_text()
    assert "url = ../.sacpipe/dvcstore" in config
    assert "analytics = false" in config
    assert YAML(typ="safe").load(ROOT / "dvc.yaml")
