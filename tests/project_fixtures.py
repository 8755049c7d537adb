"""Fixtures of the pipeline's tests: a finished project made once a session, and copies of it."""

import fcntl
import os
import shutil
import sys

import pytest
from small_project import Outcome, commit, environment, git, make_project, sacpipe, small_params, with_release

from sacpipe.cli.main import main
from sacpipe.training.config import TrainParams

RESULT = "result"
"""Tag of the finished project's commit with the result of its run."""


EASY = "{name: smoothness, episodes: 1, max_change: 1.0}"
"""A rule of the release gate that every policy keeps."""


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """Return a project that the workers of a test run share: the first makes it, the others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder_of(name, make):
        folder, done = shared / name / "project", shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def finished(made_once, empty_ledger):
    """A project whose pipeline ran once, by the local engine, and whose policy is champion. Tests leave it as it is."""

    def make(folder):
        make_project(folder)
        (folder / ".sacpipe").mkdir()
        shutil.copy(empty_ledger, folder / ".sacpipe" / "mlflow.db")
        sacpipe(folder, "run", "--engine", "local", check=0)
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "result")
        git(folder, "tag", RESULT)
        sacpipe(folder, "promote", "--reason", "the first policy", check=0)

    return made_once("finished", make)


@pytest.fixture(scope="session")
def two_candidates(finished, made_once):
    """A project on a folder's registry, with the versions 1 and 2, each committed, and no champion. Tests copy it."""

    def make(folder):
        shutil.copytree(finished, folder, symlinks=True)
        shutil.rmtree(folder / ".sacpipe")
        shutil.copytree(finished / ".sacpipe" / "dvcstore", folder / ".sacpipe" / "dvcstore")
        git(folder, "reset", "--quiet", "--hard", RESULT)
        shutil.rmtree(folder / "release")
        path = folder / "params.yaml"
        path.write_text(with_release(path.read_text(), EASY))
        for golden_steps in (8, 9):
            path.write_text(path.read_text().replace("golden_steps: 8", f"golden_steps: {golden_steps}"))
            sacpipe(folder, "run", "--engine", "local", check=0, env={"SACPIPE_TRACKING": "folder"})
            commit(folder)

    return made_once("two_candidates", make)


@pytest.fixture
def project(finished, empty_ledger, tmp_path):
    """A copy of the finished project before its promotion, with its caches and an empty ledger, to do anything to."""
    folder = tmp_path / "project"
    shutil.copytree(finished, folder, symlinks=True)
    shutil.rmtree(folder / ".sacpipe")  # the ledger's artifacts have absolute addresses
    shutil.copytree(finished / ".sacpipe" / "dvcstore", folder / ".sacpipe" / "dvcstore")
    shutil.copy(empty_ledger, folder / ".sacpipe" / "mlflow.db")
    git(folder, "reset", "--quiet", "--hard", RESULT)
    return folder


@pytest.fixture
def fresh(tmp_path):
    """A project that never ran."""
    return make_project(tmp_path / "fresh")


@pytest.fixture
def call(monkeypatch, capsys):
    """Run the command line in this process: (folder, *arguments) -> Outcome."""

    def run(folder, *arguments):
        monkeypatch.chdir(folder)
        monkeypatch.setattr(sys, "path", [*sys.path])
        capsys.readouterr()
        before = dict(os.environ)
        clean = environment()
        os.environ.clear()
        os.environ.update(clean)
        try:
            code = main(arguments)
        except SystemExit as exc:
            code = int(exc.code or 0)
        finally:
            os.environ.clear()
            os.environ.update(before)
        seen = capsys.readouterr()
        return Outcome(code=code, out=seen.out, err=seen.err)

    return run


@pytest.fixture
def small_train_params(tmp_path):
    """The sections of a small point-mass run that training reads."""
    path = tmp_path / "params.yaml"
    path.write_text(small_params())
    return TrainParams.load_sections(path)
