"""Fixtures of the pipeline's tests: a finished project made once a session, and copies of it."""

import fcntl
import os
import shutil
import sys

import pytest
from small_project import Outcome, environment, git, make_project, sacpipe, small_params

from sacpipe.cli.main import main
from sacpipe.training.config import TrainParams

RESULT = "result"
"""Tag of the finished project's commit with the result of its run."""


@pytest.fixture(scope="session")
def finished(tmp_path_factory, empty_ledger):
    """A project whose pipeline ran once, by the local engine, and whose policy is champion. Tests leave it as it is.

    The workers of one test run share it: the first makes it, the others wait.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "finished" / "project"
    with (shared / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "finished.done").exists():
            make_project(folder)
            (folder / ".sacpipe").mkdir()
            shutil.copy(empty_ledger, folder / ".sacpipe" / "mlflow.db")
            sacpipe(folder, "run", "--engine", "local", check=0)
            git(folder, "add", "--all")
            git(folder, "commit", "--quiet", "--message", "result")
            git(folder, "tag", RESULT)
            sacpipe(folder, "promote", "--reason", "the first policy", check=0)
            (shared / "finished.done").touch()
    return folder


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
