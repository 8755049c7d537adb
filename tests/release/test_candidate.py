"""A candidate's commit is found in a real repository, or the message has the commands that make one."""

import re
import subprocess

import pytest
from committed_project import commit, edit, git, make, run

from sacpipe.core.errors import ConfigError, ReleaseError, StoreError
from sacpipe.core.files import write_json
from sacpipe.project.stage_key import DiskTree, dvc_md5
from sacpipe.project.workspace import Workspace
from sacpipe.release import candidate
from sacpipe.release.candidate import find_commit, present_entries


@pytest.fixture
def project(tmp_path):
    return make(tmp_path / "project")


def refused(workspace, entries):
    """Return the message that refuses a candidate, in one line, and its command."""
    with pytest.raises(ReleaseError) as error:
        find_commit(workspace, entries)
    message, _, command = str(error.value).partition("\n  ")
    return message, command


def shell(root, command):
    """Run a printed command as an operator does who has an identity."""
    identity = {f"GIT_{who}_{what}": "t@t" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    subprocess.run(["sh", "-c", command], cwd=root, check=True, capture_output=True, env=identity)


def test_the_checked_out_commit_is_found_first_and_has_the_release_section(project):
    entries = run(project.root, "a")
    held = commit(project.root)
    (project.root / "unrelated").touch()
    newest = commit(project.root)
    assert held != newest
    edit(project.params, "mode: enforce", "mode: off")  # an edit that nothing holds
    found = find_commit(project, entries)
    params = found.release_params
    assert (found.commit, params.release.model_name, params.release.mode) == (newest, "reach", "enforce")
    assert (params.seed, params.task.id) == (1, "point-mass-v0")
    assert present_entries(project) == entries


def test_an_older_commit_is_found_after_another_candidate(project):
    entries = run(project.root, "a")
    held = commit(project.root)
    edit(project.params, "seed: 1", "seed: 2")
    later = run(project.root, "b")
    assert find_commit(project, entries).commit == held
    newest = commit(project.root)
    assert find_commit(project, entries).commit == held
    assert find_commit(project, later).commit == newest


def test_a_lock_whose_inputs_are_older_than_the_code_does_not_hold_the_candidate(project):
    """An edited comment gives the same outputs."""
    run(project.root, "a")
    commit(project.root)
    edit(project.root / "train.py", "# train.py", "# better")
    entries = run(project.root, "a")
    git(project.root, "commit", "--quiet", "--message", "the code alone", "train.py")
    message, command = refused(project, entries)
    assert "uncommitted: dvc.lock." in message
    shell(project.root, command)
    find_commit(project, entries)


@pytest.mark.slow
def test_code_that_is_committed_after_dvc_lock_belongs_to_the_later_commit(project):
    edit(project.root / "train.py", "# train.py", "# better")
    entries = run(project.root, "a")
    git(project.root, "add", "dvc.lock")
    git(project.root, "commit", "--quiet", "--message", "the lock alone")
    message, command = refused(project, entries)
    assert "uncommitted: results, train.py." in message
    held = commit(project.root)
    edit(project.params, "seed: 1", "seed: 2")
    run(project.root, "b")
    commit(project.root)
    assert find_commit(project, entries).commit == held
    assert command.startswith("git add results train.py && git commit")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("params.yaml", "seed: 1", "seed: 2"),
        ("params.yaml", "opset: 20", "opset: 21"),
        ("train.py", "# train.py", "# better"),
        ("own/task.py", "# own/task.py", "# better"),
        ("dvc.yaml", "python train.py", "python -P train.py"),
    ],
)
def test_what_is_uncommitted_is_named_and_the_printed_command_commits_it(project, path, old, new):
    run(project.root, "a")
    commit(project.root)
    edit(project.root / path, old, new)
    entries = run(project.root, "b")
    (project.root / "release" / "reach" / "versions").mkdir(parents=True)
    (project.root / "release" / "reach" / "versions" / "000001-0123456789ab.json").write_text("{}")
    (project.root / "unrelated").touch()
    message, command = refused(project, entries)
    parts = sorted(["dvc.lock", "release", "results", path])
    assert message.startswith(f"the candidate is uncommitted: {', '.join(parts)}. ")
    shell(project.root, command)
    assert find_commit(project, entries).commit == git(project.root, "rev-parse", "HEAD")
    assert git(project.root, "status", "--porcelain") == "?? unrelated"


def test_a_new_own_module_counts_as_code(project):
    (project.root / "own" / "helper 1.py").write_text("# helper\n")
    edit(project.dvc_yaml, "own/task.py]", "own/task.py, own/helper 1.py]")
    entries = run(project.root, "a")
    git(project.root, "add", "dvc.yaml", "dvc.lock", "results")
    git(project.root, "commit", "--quiet", "--message", "all but the module")
    message, command = refused(project, entries)
    assert "uncommitted: own/helper 1.py." in message
    shell(project.root, command)
    find_commit(project, entries)


def test_a_module_that_git_ignores_is_added_by_force(project):
    (project.root / ".gitignore").write_text("out/\nown/secret.py\n")
    (project.root / "own" / "secret.py").write_text("# secret\n")
    edit(project.dvc_yaml, "own/task.py]", "own/task.py, own/secret.py]")
    entries = run(project.root, "a")
    commit(project.root)
    message, command = refused(project, entries)
    assert "uncommitted: own/secret.py." in message
    assert command.startswith("git add --force own/secret.py && ")
    shell(project.root, command)
    find_commit(project, entries)


@pytest.mark.parametrize(
    ("dependency", "is_other", "is_held"),
    [("data/pool", False, True), ("data/pool", True, False), ("data/pool/segment", False, True)],
)
def test_data_of_dvc_is_held_by_its_pointer(project, dependency, is_other, is_held):
    (project.root / ".gitignore").write_text("out/\ndata/pool\n")
    (project.root / "data" / "pool").mkdir(parents=True)
    (project.root / "data" / "pool" / "segment").write_text("segment")
    md5 = "0" * 32 if is_other else dvc_md5(DiskTree(project.root), "data/pool")
    write_json(project.root / "data" / "pool.dvc", {"outs": [{"md5": md5, "path": "pool"}]})
    edit(project.dvc_yaml, "own/task.py]", f"own/task.py, {dependency}]")
    entries = run(project.root, "a")
    held = commit(project.root)
    if is_held:
        assert find_commit(project, entries).commit == held
    else:
        assert "data/pool" in refused(project, entries)[0]


def test_a_project_in_a_subfolder_of_a_repository(tmp_path):
    project = make(tmp_path / "top" / "project")
    (project.root / ".git").rename(tmp_path / "top" / ".git")
    commit(tmp_path / "top")
    entries = run(project.root, "a")
    _, command = refused(project, entries)
    assert command.startswith("git add dvc.lock results && ")
    shell(project.root, command)
    find_commit(project, entries)


@pytest.mark.parametrize("path", ["train.py", "params.yaml"])
def test_a_commit_that_changed_the_code_after_the_run_needs_another_run(project, path):
    entries = run(project.root, "a")
    edit(project.root / path, *{"train.py": ("# ", "# 2 "), "params.yaml": ("seed: 1", "seed: 2")}[path])
    commit(project.root)
    message, command = refused(project, entries)
    assert f"holds another {path} than the run of the candidate" in message
    assert "`sacpipe run` makes the policy of this commit" in message
    assert command == ""


def test_an_older_candidate_of_another_branch_is_searched_by_a_command(project):
    entries = run(project.root, "a")
    git(project.root, "checkout", "--quiet", "-b", "other")
    held = commit(project.root)
    git(project.root, "checkout", "--quiet", "main")
    run(project.root, "b")
    commit(project.root)
    message, command = refused(project, entries)
    assert "dvc.lock holds another one" in message
    assert "shallow" not in message
    found = subprocess.run(command.split(), cwd=project.root, capture_output=True, text=True, check=True)
    assert held.startswith(found.stdout.split()[0])


def test_a_shallow_clone_says_so(project, tmp_path):
    entries = run(project.root, "a")
    held = commit(project.root)
    run(project.root, "b")
    commit(project.root)
    git(tmp_path, "clone", "--quiet", "--depth", "1", f"file://{project.root}", "clone")
    clone = Workspace(tmp_path / "clone")
    assert "`git fetch --unshallow`" in refused(clone, entries)[0]
    git(clone.root, "fetch", "--quiet", "--unshallow")
    assert find_commit(clone, entries).commit == held


def test_the_search_ends_at_a_number_of_commits(project, monkeypatch):
    monkeypatch.setattr(candidate, "MAX_COMMITS", 2)
    entries = run(project.root, "a")
    held = commit(project.root)
    run(project.root, "b")
    commit(project.root)
    assert find_commit(project, entries).commit == held
    run(project.root, "c")
    commit(project.root)
    assert "none of the 2 newest commits" in refused(project, entries)[0]


def test_without_git_the_message_says_how_to_begin(project, tmp_path, monkeypatch):
    entries = run(project.root, "a")
    (project.root / ".git").rename(tmp_path / "away")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    with pytest.raises(ConfigError, match="not a git repository") as error:
        find_commit(project, entries)
    command = str(error.value).partition("\n  ")[2]
    assert re.match("git init && git add --all && git commit -m", command)
    git(project.root, "init", "--quiet")
    message, command = refused(project, entries)
    assert "no commit yet" in message
    shell(project.root, command)
    find_commit(project, entries)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="git is not installed"):
        find_commit(project, entries)


def test_a_stage_that_never_ran_makes_no_candidate(project):
    entries = run(project.root, "a")
    write_json(project.dvc_lock, {"schema": "2.0", "stages": {"train": entries["train"]}})
    with pytest.raises(StoreError, match="stage 'export' never ran"):
        present_entries(project)


def test_a_release_section_that_cannot_be_read_names_the_commit(project):
    edit(project.params, "model_name: reach", "model_name: a/b")
    entries = run(project.root, "a")
    held = commit(project.root)
    found = find_commit(project, entries)
    with pytest.raises(ConfigError, match=f"params.yaml of commit {held[:12]}: release.model_name"):
        _ = found.release_params
