"""DVC's errors by their classes, and the one text of DVC that is read."""

import errno
import json
import logging
import re
import subprocess
import sys

import pytest
from dvc.exceptions import CheckoutError, NotDvcRepoError, ReproductionError
from dvc.lock import LockError
from dvc.scm import SCMError
from dvc.stage.exceptions import StageCmdFailedError

from sacpipe.project.dvc import child


def described(error, *logged):
    collected = child._LoggedErrors(logging.ERROR)
    for one in logged:
        collected.emit(
            logging.LogRecord("dvc", logging.ERROR, "", 0, "failed to transfer", (), (type(one), one, None))
        )
    return child._described(error, collected)


def caused(error, cause):
    error.__cause__ = cause
    return error


def test_a_status_is_read_from_the_text_of_the_installed_dvc():
    """It has no attribute with the status."""
    for status in (3, -9):
        error = caused(
            ReproductionError("failed to reproduce 'a'"),
            StageCmdFailedError("python a, exited with 7", status),
        )
        found = described(error)["status"], "status" in vars(error.__cause__)
        assert found == (status, False), (
            "dvc.stage.exceptions.StageCmdFailedError changed: child.py reads its text"
        )


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (NotDvcRepoError("no repository"), "run `dvc init`"),
        (SCMError("/p is not a git repository"), "dvc config core.no_scm true"),
        (LockError("it is being blocked by:\n (PID 7): dvc repro b"), "Wait until it ends"),
        (CheckoutError(["a"], {}), "`dvc pull` fetches them"),
        (OSError(errno.ENOENT, "No such file", "/mnt/x"), "`dvc remote list` names the remote"),
        (OSError(errno.EACCES, "Permission denied", "/mnt/x"), "cannot be written"),
        (OSError(errno.EROFS, "Read-only", "/mnt/x"), "cannot be written"),
        (OSError(errno.ENOSPC, "No space left", "/mnt/x"), "Free some space"),
        (RuntimeError("a bug"), ""),
    ],
)
def test_every_trouble_comes_with_advice_by_its_class_however_deep(error, advice):
    for fields in (described(error), described(caused(ReproductionError("failed"), error))):
        assert fields["error"] == "dvc"
        without_colours = re.sub("\x1b\\[[0-9]+m", "", str(error))
        assert " ".join(without_colours.split()) in fields["message"]
        assert "\x1b" not in fields["message"]
        assert advice in fields["advice"]
        assert bool(advice) == bool(fields["advice"])


def test_errors_that_were_only_logged_are_in_the_message():
    fields = described(
        RuntimeError("2 files failed to upload"), OSError(errno.ENOSPC, "No space left", "/mnt/x")
    )
    assert (
        fields["message"]
        == "failed to transfer - [Errno 28] No space left: '/mnt/x' 2 files failed to upload"
    )
    assert "Free some space" in fields["advice"]


@pytest.mark.slow
def test_the_process_imports_nothing_of_sacpipe(tmp_path):
    """And so it works wherever sacpipe is imported from."""
    script = "import atexit, runpy, sys; sys.argv[1:] = ['push', '[]'];"
    script += "atexit.register(lambda: print([name for name in sys.modules if name.startswith('sacpipe')]));"
    script += f"runpy.run_path({child.__file__!r}, run_name='__main__')"
    result = subprocess.run(
        [sys.executable, "-P", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    answer, loaded = result.stdout.splitlines()
    assert result.returncode == 1
    assert "not inside of a DVC repository" in json.loads(answer)["message"]
    assert loaded == "[]"
