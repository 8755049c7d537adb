"""The import contracts of pyproject.toml hold, and each one is seen broken by one forbidden line."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
VIOLATIONS = {
    "Imports go down only": ("sacpipe/core/seeding.py", "import sacpipe.specs.records"),
    "Nothing imports in a circle": ("sacpipe/core/errors.py", "import sacpipe.core.files"),
    "The robot's side sees core, specs, bundle and the pool on disk": (
        "sacpipe/robot/policy.py",
        "import torch",
    ),
    "The kernels need NumPy and a compiler alone": ("sacpipe/kernels/library.py", "import torch"),
    "Algorithms meet environments only through EnvSpec, and pools only through Batch": (
        "sacpipe/networks/critic.py",
        "import gymnasium",
    ),
    "The library knows neither its orchestrator nor a project's own files": (
        "sacpipe/project/git.py",
        "import prefect",
    ),
    "Only tracking/mlflow imports MLflow": ("sacpipe/training/loop.py", "import mlflow"),
    "Stages know neither MLflow nor Prefect nor DVC": ("pipelines/stages/train.py", "import dvc"),
}
"""A file and a line that breaks the contract there."""


def lint(folder):
    """Return the exit code, and for every contract whether it is KEPT or BROKEN in a folder."""
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    names = [contract["name"] for contract in CONTRACTS]
    lines = result.stdout.splitlines()
    found = {
        name: line.split()[len(name.split())]
        for line in lines
        for name in names
        if line.startswith(f"{name} ")
    }
    assert found.keys() == set(names), result.stdout + result.stderr
    return result.returncode, found


def test_import_contracts_hold():
    code, found = lint(ROOT)
    assert (code, set(found.values())) == (0, {"KEPT"})


def test_every_contract_has_a_line_that_breaks_it():
    assert VIOLATIONS.keys() == {contract["name"] for contract in CONTRACTS}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_one_forbidden_line_breaks_the_contract(tmp_path, name):
    for package in ("sacpipe", "pipelines"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    file, line = VIOLATIONS[name]
    with (tmp_path / file).open("a") as source:
        source.write(f"\n{line}\n")
    code, found = lint(tmp_path)
    assert (code, found[name]) == (1, "BROKEN")
