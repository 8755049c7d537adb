"""A private part of a foreign package is in one file, its package is pinned, and a canary is named after it."""

import ast
import re
import tomllib

import pytest
from repository import ROOT

FILES = [path for folder in ("sacpipe", "pipelines") for path in sorted((ROOT / folder).rglob("*.py"))]
CANARIES = [*ROOT.glob("tests/*/test_*_canary.py")]
PUBLIC = {"_asdict", "_exit", "_fields", "_make", "_replace"}
"""Documented names of the standard library that begin with an underscore."""
READERS = {"attrgetter", "delattr", "getattr", "hasattr", "methodcaller", "setattr", "vars"}
PINNED = {
    "dm_control": "dm_control",
    "dvc": "dvc",
    "mlflow": "mlflow",
    "mujoco": "mujoco",
    "prefect": "prefect",
    "torch": "torch",
}
"""Name in pyproject.toml of the package of each canary; robosuite is pinned in an environment of its own."""


def is_private(name):
    return re.match("_[A-Za-z]", name) is not None and name not in PUBLIC


def own_names(tree):
    """Names that a file defines or assigns, as an attribute of anything: those are its own."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def texts(node):
    """Texts by which a node names an attribute or a folder."""
    if isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return node.args if name in READERS else []
    if isinstance(node, ast.Subscript) and ast.unparse(node.value).startswith("vars("):
        return [node.slice]
    return [node.right] if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div) else []


def private_parts(source):
    """Return the private names of other packages that a file uses."""
    tree, found = ast.parse(source), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            found.add(node.attr)
        elif isinstance(node, ast.ImportFrom) and not (node.module or "").startswith(
            ("sacpipe", "pipelines")
        ):
            found |= {*(node.module or "").split("."), *(alias.name for alias in node.names)}
        elif isinstance(node, ast.Import):
            found |= {part for alias in node.names for part in alias.name.split(".")}
        for text in texts(node):
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found |= set(text.value.split("."))
    return {name for name in found if is_private(name)} - set(own_names(tree))


def all_parts():
    places = {}
    for path in FILES:
        for name in private_parts(path.read_text()):
            places.setdefault(name, []).append(path.relative_to(ROOT).as_posix())
    return places


def test_each_is_in_one_file_and_has_a_canary():
    canaries = "\n".join(path.read_text() for path in CANARIES)
    places = all_parts()
    assert places
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
    assert {name: files for name, files in places.items() if not re.search(rf"\b{name}\b", canaries)} == {}


def test_each_canarys_package_is_pinned_to_a_minor_version():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lines = [line.replace(" ", "") for extra in extras.values() for line in extra]
    lock = (ROOT / "requirements.lock").read_text()
    names = {
        path.stem[len("test_") : -len("_canary")]
        for path in (ROOT / "tests" / "canaries").glob("test_*_canary.py")
    }
    assert names == PINNED.keys()
    for package in PINNED.values():
        major, minor = re.search(rf"^{package.replace('_', '-')}==(\d+)\.(\d+)", lock, re.MULTILINE).groups()
        pins = [line for line in lines if re.match(rf"{package}(\[.*\])?>=", line)]
        assert [line.endswith(f",<{major}.{int(minor) + 1}") for line in pins] == [True], package


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch._foreach_lerp_(a, b)", {"_foreach_lerp_"}),
        ("from mlflow.utils import _hidden", {"_hidden"}),
        ("import numpy._core.multiarray", {"_core"}),
        ("getattr(env, '_step_limit')", {"_step_limit"}),
        ("operator.attrgetter('sim.model._model')(env)", {"_model"}),
        ("vars(data)['_data']", {"_data"}),
        ("folder / '_migrations' / 'versions'", {"_migrations"}),
        ("class A:\n def _own(self): self._own()\nA()._own()", set()),
        ("from sacpipe.core import _x\nrow._replace(a=1)\nos._exit(3)\nx.__wrapped__", set()),
    ],
)
def test_what_counts_as_a_private_part(source, found):
    assert private_parts(source) == found
