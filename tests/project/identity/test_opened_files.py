"""What a process opens and imports counts for the project for which it is recorded then, and for no other."""

import importlib
import sys

import pytest

from sacpipe.cli.main import main
from sacpipe.project.identity.opened_files import files_recorded, imported_modules, opened_files


@pytest.fixture
def project(tmp_path):
    """A project of one file, and a second one beside it."""
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dvc.yaml").write_text("stages: {}\n")
        (tmp_path / name / "gain.txt").write_text("1.0")
    return tmp_path / "one"


def test_only_what_is_opened_while_a_project_is_recorded_counts_for_it(project):
    gain = project / "gain.txt"
    other = project.parent / "other"
    gain.read_text()
    assert opened_files(project) == ((), ())
    with files_recorded(project):
        gain.read_text()
        with files_recorded(other):
            (project / "dvc.yaml").read_text()
    (other / "gain.txt").read_text()
    assert opened_files(project) == ((gain,), ())
    assert opened_files(other) == ((project / "dvc.yaml",), ())


def test_only_what_is_imported_while_a_project_is_recorded_counts_for_it(project, monkeypatch):
    names = [f"recorded_{when}" for when in ("before", "first", "inside", "again", "after")]
    for name in names:
        (project / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(project)
    other = project.parent / "other"

    def load(when):
        importlib.import_module(f"recorded_{when}")

    load("before")
    with files_recorded(project):
        load("first")
        with files_recorded(other):
            load("inside")
            assert imported_modules(other) & {*names} == {"recorded_inside"}
        load("again")
        assert imported_modules(project) & {*names} == {"recorded_first", "recorded_again"}
    load("after")
    assert imported_modules(project) & {*names} == {"recorded_first", "recorded_again"}
    assert imported_modules(other) & {*names} == {"recorded_inside"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["params", "point_mass/point-mass-v0", "--output", "params.yaml"], 0),
        (["params", "point_mass/unknown-v0", "--output", "params.yaml"], 2),
        (["check-env", "point_mass/point-mass-v0"], 0),
        (["check-env", "point_mass/unknown-v0"], 1),
    ],
)
def test_no_command_records_after_its_end(project, monkeypatch, arguments, code):
    monkeypatch.setattr(sys, "path", [*sys.path])  # a command puts the project's folder first
    monkeypatch.chdir(project)
    (project / "dvc.yaml").write_text("stages: {train: {}}\n")
    (project / "versions.lock").write_text("{}\n")
    assert main(arguments) == code
    (project / "gain.txt").read_text()
    assert project / "gain.txt" not in opened_files(project)[0]
