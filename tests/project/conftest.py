"""Fixtures of the toy project."""

import shutil

import pytest
from toy_project import make_toy


@pytest.fixture(scope="session")
def committed_toy(tmp_path_factory):
    """A toy project with a committed result. The commit names its cache by absolute path."""
    return make_toy(tmp_path_factory.mktemp("toy") / "project")


@pytest.fixture
def toy(committed_toy, tmp_path):
    """A copy of the toy project that a test may change. It shares the original's cache."""
    return shutil.copytree(committed_toy, tmp_path / "toy")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """The empty folder in which temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder
