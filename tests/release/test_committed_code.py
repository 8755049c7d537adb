"""Edited code of the task or of a rule is not the code of the commit, and is named with commands that help."""

import subprocess

import pytest
from committed_project import commit, git, make

from sacpipe.core.errors import ReleaseError
from sacpipe.project.stage_key import DiskTree, dvc_md5
from sacpipe.release.committed_code import require_committed

IDENTITY = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
def root(tmp_path):
    return make(tmp_path / "project").root


def require(root, held, *paths):
    require_committed(root, held, {path: dvc_md5(DiskTree(root), path) for path in paths})


def refused(root, held, *paths):
    """Return the message that refuses, and its commands."""
    with pytest.raises(ReleaseError) as error:
        require(root, held, *paths)
    message, *lines = str(error.value).splitlines()
    return message, [line.strip() for line in lines if line.startswith("  ")]


def shell(root, command):
    subprocess.run(["sh", "-c", command], cwd=root, check=True, capture_output=True, env=IDENTITY)


def test_files_and_folders_as_committed_hold(root):
    held = git(root, "rev-parse", "HEAD")
    require(root, held, "own/task.py", "own")


@pytest.mark.parametrize("path", ["own/task.py", "a rule.py"])
def test_an_edited_or_new_file_is_named_and_each_printed_command_helps(root, path):
    held = git(root, "rev-parse", "HEAD")
    (root / path).write_text("# edited\n")
    message, commands = refused(root, held, "train.py", path)
    assert f"that of commit {held[:12]}, and files of its task or rules differ from it: {path}. " in message
    add, aside = commands
    shell(root, aside)
    assert git(root, "status", "--porcelain") == ""
    git(root, "stash", "pop")
    shell(root, add)
    require(root, git(root, "rev-parse", "HEAD"), "train.py", path)


def test_code_of_a_later_commit_is_placed_as_the_candidates_commit_has_it(root):
    held = git(root, "rev-parse", "HEAD")
    (root / "own" / "task.py").write_text("# later\n")
    commit(root)
    _, (place, back) = refused(root, held, "own/task.py")
    shell(root, place)
    require(root, held, "own/task.py")
    shell(root, back)
    assert git(root, "status", "--porcelain") == ""


def test_a_file_that_git_ignores_is_added_by_force(root):
    (root / ".gitignore").write_text("out/\nsecret.py\n")
    (root / "secret.py").touch()
    held = commit(root)
    _, (command,) = refused(root, held, "secret.py")
    shell(root, command)
    require(root, git(root, "rev-parse", "HEAD"), "secret.py")


def test_data_of_a_pointer_and_outputs_of_stages_are_no_part_of_a_commit(root):
    (root / "demos.npz").write_bytes(b"demos")
    (root / "out").mkdir()
    (root / "out" / "train").write_bytes(b"weights")
    md5 = dvc_md5(DiskTree(root), "demos.npz")
    (root / "demos.npz.dvc").write_text(f"outs: [{{md5: {md5}, path: demos.npz}}]\n")
    (root / "dvc.lock").write_text("stages: {train: {cmd: a, outs: [{path: out/train, md5: b}]}}\n")
    git(root, "add", "demos.npz.dvc", "dvc.lock")
    git(root, "commit", "-q", "-m", "a pointer")
    held = git(root, "rev-parse", "HEAD")
    require(root, held, "demos.npz", "out/train")
    (root / "demos.npz").write_bytes(b"others")
    assert "differ from it: demos.npz. " in refused(root, held, "demos.npz")[0]


def test_a_file_outside_of_the_project_is_in_no_commit(root, tmp_path):
    (tmp_path / "rule.py").touch()
    message, commands = refused(root, git(root, "rev-parse", "HEAD"), str(tmp_path / "rule.py"))
    assert "move it into the project, or install its package" in message
    assert commands == []
