"""`sacpipe gc` and `sacpipe ledger rebuild` of a project that ran: lists, removes, refuses, restores."""

import contextlib
import sqlite3

import pytest
from small_project import git

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
