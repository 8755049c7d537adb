"""Every type of link between DVC's cache and out/: run, edit, run, restore, pull; the cache stays intact."""

import hashlib
import os
import shutil

import pytest
from small_project import dvc, sacpipe

from sacpipe.core.files import copy_file
from sacpipe.project.tracked_output import is_own_output


def damaged(cache):
    """Return the objects of a cache whose bytes are not those of their name."""
    objects = [path for path in (cache / "files" / "md5").rglob("*") if path.is_file()]
    assert len(objects) > 10
    return [
        path
        for path in objects
        if hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        != (path.parent.name + path.name).removesuffix(".dir")
    ]


def link(project, kind, cache):
    """Move the cache, choose the type of link, and let DVC replace every output by such links."""
    shutil.copytree(project / ".dvc" / "cache", cache)
    shutil.rmtree(project / ".dvc" / "cache")
    dvc(project, "config", "--local", "cache.dir", str(cache))
    dvc(project, "config", "--local", "cache.type", kind)
    shutil.rmtree(project / "out")
    dvc(project, "checkout", "--force")


def is_linked(path, kind):
    status = path.lstat()
    return {"symlink": path.is_symlink(), "hardlink": status.st_nlink > 1}.get(
        kind, not path.is_symlink() and status.st_nlink == 1
    )


def edit(project, old, new):
    text = (project / "params.yaml").read_text()
    assert old in text
    (project / "params.yaml").write_text(text.replace(old, new))


@pytest.fixture
def place(tmp_path, memory_folder):
    """Where a cache is: beside the project, or on another disk, which only a symbolic link can reach."""
    return lambda kind: (memory_folder if kind == "symlink" else tmp_path) / "other" / "cache"


def test_an_own_bundle_of_symbolic_links_is_checked_simulated_and_reported(project, place, call):
    cache = place("symlink")
    link(project, "symlink", cache)
    bundle = project / "out" / "export" / "bundle"
    assert all(is_linked(path, "symlink") for path in bundle.iterdir())
    assert call(project, "check", "out/export/bundle").code == 0
    assert call(project, "simulate", "out/export/bundle", "--episodes", "1").code == 0
    assert call(project, "simulate", "--episodes", "1").code == 0
    assert call(project, "pool", "check").code == 0
    assert call(project, "report").code == 0
    assert call(project, "ledger", "rebuild").code == 0


def test_a_copy_of_such_a_bundle_is_foreign_until_it_has_files(project, place, call, tmp_path):
    link(project, "symlink", place("symlink"))
    bundle, copy = project / "out" / "export" / "bundle", tmp_path / "release"
    shutil.copytree(bundle, copy, symlinks=True)  # as `cp -r`
    seen = call(tmp_path, "check", "release")
    assert (seen.code, "refused by the rule 'links'" in seen.err, "`cp -rL`" in seen.err) == (1, True, True)
    assert (is_own_output(bundle), is_own_output(copy)) == (True, False)
    shutil.rmtree(copy)
    shutil.copytree(bundle, copy)  # as `cp -rL`
    assert call(tmp_path, "check", "release").code == 0


@pytest.mark.acceptance
@pytest.mark.parametrize("kind", ["copy", "hardlink", "symlink", "reflink,copy"])
def test_run_edit_run_restore_and_pull(project, place, kind):
    cache = place(kind)
    link(project, kind, cache)
    linked = project / "out" / "export" / "bundle" / "policy.onnx"
    for value in ("8", "9", "8"):  # the last is restored from the run-cache
        edit(project, "golden_steps: ", f"golden_steps: {value} #")
        sacpipe(project, "run", "--engine", "local", check=0)
        assert is_linked(linked, kind)
        assert sacpipe(project, "check", "out/export/bundle").code == 0
    edit(project, "seed: 1 ", "seed: 2 ")
    sacpipe(project, "run", "--engine", "local", check=0)  # another training replaces linked outputs
    assert damaged(cache) == []
    assert "in sync" in dvc(project, "status", "--cloud")

    shutil.rmtree(project / "out")
    shutil.rmtree(cache)
    dvc(project, "pull")
    assert is_linked(linked, kind)
    assert sacpipe(project, "run", "--engine", "local", "--json", check=0).out.count('"unchanged"') == 3
    assert sacpipe(project, "report").code == 0
    assert damaged(cache) == []


def test_a_copy_replaces_a_link_instead_of_writing_through_it(tmp_path):
    (tmp_path / "object").write_text("cached")
    (tmp_path / "new").write_text("new")
    (tmp_path / "soft").symlink_to(tmp_path / "object")
    os.link(tmp_path / "object", tmp_path / "hard")
    for name in ("soft", "hard", "none"):
        copy_file(tmp_path / "new", tmp_path / name)
        assert (tmp_path / name).read_text() == "new"
    assert (tmp_path / "object").read_text() == "cached"
