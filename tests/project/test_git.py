"""Which commits name data of DVC, and the files of a commit."""

import hashlib
import shutil

import pytest
from small_project import git

from sacpipe.core.errors import StorageError
from sacpipe.project import git as git_module
from sacpipe.project.git import GitTree, data_commits


@pytest.fixture
def commit(tmp_path):
    """Write files, and return the commit that holds them: (path=text, ...) -> commit."""
    git(tmp_path, "init", "--quiet", "--initial-branch=main")

    def make(**files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "--message", "a change")
        return git(tmp_path, "rev-parse", "HEAD")

    return make


def test_a_commit_that_names_what_its_parent_names_is_left_out(commit, tmp_path):
    """Branches, tags, stashes and merges count; a merge of two changes names what neither parent names."""
    start = commit(dvc_lock="1", README_md="1")
    commit(README_md="2")
    below = commit(data__pool_dvc="1")
    git(tmp_path, "checkout", "--quiet", "-b", "other", start)
    other = commit(params_yaml="1")
    commit(code_py="1")
    git(tmp_path, "checkout", "--quiet", "main")
    git(tmp_path, "merge", "--quiet", "--no-edit", "other")
    merged = git(tmp_path, "rev-parse", "HEAD")
    tagged = commit(dvc_lock="2")
    git(tmp_path, "tag", "kept")
    git(tmp_path, "reset", "--quiet", "--hard", "HEAD~1")
    (tmp_path / "dvc.lock").write_text("3")
    git(tmp_path, "stash", "--quiet")
    stashed = git(tmp_path, "rev-parse", "stash@{0}")
    assert {start, below, other, merged, tagged, stashed} == {*data_commits(tmp_path)}


def test_a_project_in_a_folder_of_a_repository_counts_its_own_files(commit, tmp_path):
    own = commit(project__dvc_lock="1")
    commit(dvc_lock="1")
    assert data_commits(tmp_path / "project") == (own,)


def test_without_git_there_are_none_and_unreadable_commits_are_an_error(commit, tmp_path):
    commit(dvc_lock="1")
    shutil.rmtree(tmp_path / ".git" / "objects" / "pack", ignore_errors=True)
    for folder in (tmp_path / ".git" / "objects").glob("??"):
        shutil.rmtree(folder)
    with pytest.raises(StorageError, match="git fsck"):
        data_commits(tmp_path)
    shutil.rmtree(tmp_path / ".git")
    assert data_commits(tmp_path) == ()


def test_files_that_were_read_ahead_have_their_bytes_and_need_no_process_each(commit, tmp_path, monkeypatch):
    texts = {"code__one_py": "1\n", "code__two_py": "", "lone_txt": "3 blob 4\n\n5", "other_txt": "6"}
    tree = GitTree(tmp_path, commit(**texts))
    tree.read_ahead(["code", "lone.txt", "absent"])
    commands = []
    real = git_module._git
    monkeypatch.setattr(
        git_module, "_git", lambda *words, **more: commands.append(words) or real(*words, **more)
    )
    names = {name.replace("__", "/").replace("_", "."): text for name, text in texts.items()}
    found = {name: tree.md5(name) for name in names}
    assert found == {
        name: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() for name, text in names.items()
    }
    assert len(commands) == 1  # other.txt
