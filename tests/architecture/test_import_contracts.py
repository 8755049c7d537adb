"""The import contracts of pyproject.toml hold, and each one is seen broken by one forbidden line."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from repository import ROOT

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
VIOLATIONS = {
    "Imports go down only": ("sacpipe/core/seeding.py", "sacpipe.specs.records"),
    "Nothing imports in a circle": ("sacpipe/core/errors.py", "sacpipe.core.files"),
    "The robot's side sees core, specs, bundle and the pool on disk": ("sacpipe/robot/policy.py", "torch"),
    "The kernels need NumPy and a compiler alone": ("sacpipe/kernels/library.py", "torch"),
    "Algorithms meet environments only through EnvSpec, and pools only through Batch": (
        "sacpipe/networks/critic.py",
        "gymnasium",
    ),
    "The library knows neither its orchestrator nor a project's own files": (
        "sacpipe/project/git.py",
        "prefect",
    ),
    "Only tracking/mlflow imports MLflow": ("sacpipe/training/loop.py", "mlflow"),
    "Trackers are found by name: nothing imports MLflow's": (
        "sacpipe/tracking/ledger.py",
        "sacpipe.tracking.mlflow.ledger",
    ),
    "A robot reads every registry without MLflow or torch": (
        "sacpipe/tracking/mlflow/rest_source.py",
        "mlflow",
    ),
    "Stages know neither MLflow nor Prefect nor DVC": ("pipelines/stages/train.py", "dvc"),
}
"""A file, and what breaks the contract if it is imported there."""


def lint(folder):
    """Return the exit code, whether each contract is KEPT or BROKEN in a folder, and what is said of each."""
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
    # Under a heading of its own: the name, and a line of dashes below it.
    parts = re.split(r"^(.+)\n-{3,}\n", result.stdout, flags=re.MULTILINE)
    return result.returncode, found, dict(zip(parts[1::2], parts[2::2], strict=True))


def test_import_contracts_hold():
    code, found, _ = lint(ROOT)
    assert (code, set(found.values())) == (0, {"KEPT"})


def test_every_contract_has_a_line_that_breaks_it():
    assert VIOLATIONS.keys() == {contract["name"] for contract in CONTRACTS}


@pytest.fixture(scope="module")
def broken(tmp_path_factory):
    """What is said of a copy that has every forbidden line: the report of a contract names its own."""
    folder = tmp_path_factory.mktemp("broken")
    for package in ("sacpipe", "pipelines"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    lines = {}
    for file, module in VIOLATIONS.values():
        source = (folder / file).read_text() + f"\nimport {module}\n"
        (folder / file).write_text(source)
        lines[file] = source.count("\n")
    return *lint(folder), lines


@pytest.mark.parametrize("name", VIOLATIONS)
def test_one_forbidden_line_breaks_the_contract(broken, name):
    code, found, reports, lines = broken
    assert (code, found[name]) == (1, "BROKEN")
    file, module = VIOLATIONS[name]
    line = f" {file.removesuffix('.py').replace('/', '.')} -> {module} (l.{lines[file]})"
    if name == "Nothing imports in a circle":  # the package, and the shortest cut through the circle
        line = "No cycles are allowed in sacpipe.core.\nIt could be made acyclic by removing 1 dependency:\n\n- .files -> .errors"
    assert line in reports[name], reports[name]
