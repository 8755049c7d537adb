"""Fixtures of releases: a project of three generations on each of our own registries."""

from pathlib import Path

import pytest
from release_project import IDENTITY, ReleaseProject
from released_project import ReleasedProject


@pytest.fixture(params=["folder", pytest.param("mlflow", marks=pytest.mark.acceptance)])
def project(
    request: pytest.FixtureRequest, generations: Path, empty_ledger: Path, tmp_path: Path
) -> ReleasedProject:
    """A project on each kind of registry."""
    return ReleasedProject.make(request.param, generations, tmp_path, empty_ledger)


@pytest.fixture
def folder_project(generations: Path, empty_ledger: Path, tmp_path: Path) -> ReleasedProject:
    """A project on the folder registry."""
    return ReleasedProject.make("folder", generations, tmp_path, empty_ledger)


@pytest.fixture
def release_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseProject:
    """A project of bundles of a few bytes, on the folder registry, without a version."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    return ReleaseProject(tmp_path / "project", tmp_path / "tracking")
