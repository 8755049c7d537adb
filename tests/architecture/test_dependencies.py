"""What the code imports is declared in pyproject.toml, never only installed because another package needs it."""

import ast
import re
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions

import pytest
from repository import ROOT, statements

OWN = {"sacpipe", "pipelines"}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name):
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!;, ]", name.strip(), maxsplit=1)[0]).lower()


def declared(*extras):
    optional = PYPROJECT["optional-dependencies"]
    listed = [*PYPROJECT["dependencies"], *(line for extra in extras for line in optional[extra])]
    return {normalised(line) for line in listed}


@cache
def installed():
    """Map each importable name to the distributions that hold it."""
    return packages_distributions()


@cache
def imported(path):
    """Return the packages that a file imports anywhere."""
    names = set()
    for node in statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} - {None}
    return {name.partition(".")[0] for name in names}


def undeclared(folder, known):
    """Return the packages that a folder's files import and no known distribution holds, each with one file."""
    own = (folder, "tests") if folder == "benchmarks" else (folder,)  # an attack is measured as it is tested
    local = {path.stem for name in own for path in (ROOT / name).rglob("*.py")} | {"conftest"}
    local |= {
        path.parent.name for path in (ROOT / folder).glob("*/*/__init__.py")
    }  # a package that a test installs
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        if (path.parent / "requirements.txt").exists():  # programs with an environment of their own
            continue
        for top in imported(path) - sys.stdlib_module_names - OWN - local:
            found[top] = path
    distributions = installed()
    return {
        top: str(path.relative_to(ROOT))
        for top, path in found.items()
        if not known & {normalised(name) for name in distributions.get(top, [top])}
    }


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("sacpipe/core", []),
        ("sacpipe/specs", []),
        ("sacpipe/kernels", []),
        ("sacpipe/bundle", ["serve"]),
        ("sacpipe/replay/pool", ["serve"]),
        ("sacpipe/robot", ["serve"]),
        ("sacpipe/rollout", ["serve"]),
        ("sacpipe/server", ["serve"]),
        ("sacpipe", ["serve", "train", "pipeline", "robotics", "box2d"]),
        ("pipelines", ["train", "pipeline"]),
        ("tests", ["serve", "train", "pipeline", "dev"]),
        ("benchmarks", ["serve", "train", "pipeline", "dev"]),
    ],
)
def test_every_import_is_declared(folder, extras):
    assert not undeclared(folder, declared(*extras))


def test_the_lock_holds_every_declared_package():
    locked = {
        normalised(line) for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line
    }
    assert declared("serve", "train", "pipeline", "robotics", "box2d", "dev") <= locked
