"""`sacpipe gc` and `sacpipe ledger rebuild` of a project that ran: lists, removes, refuses, restores."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_project import environment, git

pytestmark = pytest.mark.acceptance


def orphan(project):
    """A file of DVC's cache that nothing names, of 5 MB."""
    path = project / ".dvc" / "cache" / "files" / "md5" / "aa" / ("b" * 30)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 5_000_000)
    return path


def test_gc_lists_what_force_removes_and_the_project_works_on(project, call):
    """The ledger is empty at first: a rebuild registers the version that the run registered."""
    seen = call(project, "ledger", "rebuild")
    assert seen.code == 0
    assert "/1: bundle " in seen.out
    with contextlib.closing(sqlite3.connect(project / ".sacpipe" / "mlflow.db")) as database:
        ((card,),) = database.execute("select description from model_versions").fetchall()
    assert "Not tested: a robot" in card
    path = orphan(project)
    seen = call(project, "gc")
    assert (seen.code, path.exists()) == (0, True)
    assert "1 thing, 5.0 MB to remove with `sacpipe gc --force`" in seen.out
    assert "cache         5.0 MB  aabbbb" in seen.out
    seen = call(project, "gc", "--force")
    assert (seen.code, path.exists()) == (0, False)
    assert "1 thing, 5.0 MB removed" in seen.out
    assert "0 things, 0.0 MB removed" in call(project, "gc", "--force").out
    seen = call(project, "promote", "1", "--reason", "the first policy")
    assert seen.code == 0, seen.err
    assert call(project, "lineage").code == 0
    assert git(project, "log", "-1", "--format=%s").startswith("Release of ")


def test_a_shared_cache_is_refused_with_its_reason(project, call, tmp_path):
    with (project / ".dvc" / "config.local").open("a") as file:
        file.write(f"[cache]\n dir = {tmp_path}/elsewhere\n")
    seen = call(project, "gc", "--force")
    assert seen.code == 1
    assert "DVC's cache is shared with other projects" in seen.out
    assert call(project, "gc", "--keep", "0").code == 2


def child_with(pid, word):
    """Return the child of a process whose command line has a word; None where there is none now."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        with contextlib.suppress(FileNotFoundError):  # it has ended
            if word in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    return None


def test_a_stopped_gc_leaves_no_process_and_a_list_keeps_no_release_waiting(project, call):
    """DVC's lock is held, so that DVC's process waits when SIGTERM comes."""
    holder = (
        "import zc.lockfile; lock = zc.lockfile.LockFile('.dvc/tmp/lock'); print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", holder], cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as held:
        assert held.stdout.readline() == b"held\n"
        assert call(project, "gc").code == 0  # it needs no lock
        command = [sys.executable, "-m", "sacpipe.cli.main", "gc", "--force"]
        with subprocess.Popen(
            command, cwd=project, env=environment(), stderr=subprocess.PIPE, text=True
        ) as process:
            while (child := child_with(process.pid, b"garbage")) is None:
                assert process.poll() is None
                time.sleep(0.01)
            seen = call(project, "rollback", "--to", "none", "--reason", "it trembles")
            assert "in progress" not in seen.err  # DVC's cache is searched without the lock of releases
            process.send_signal(signal.SIGTERM)
            assert (process.wait(), "interrupted" in process.stderr.read()) == (3, True)
            with pytest.raises(ProcessLookupError):
                os.kill(child, 0)
        held.kill()
