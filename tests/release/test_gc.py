"""`sacpipe gc` removes what nothing needs, and nothing else: everything that the history names stays usable."""

import json
import shutil

import pytest
from ledger_project import git
from released_project import NAME

from sacpipe.core.errors import ConfigError, ReleaseError, StorageError
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import locked_inputs
from sacpipe.release.gc import open_collector, recorded_bundles
from sacpipe.release.versions import read_versions


def collector(project, keep=1):
    return open_collector(project.workspace, project.tracker, NAME, keep)


def forget_commits(root):
    """Leave one commit, which holds generation 3."""
    git(root, "checkout", "-q", "--orphan", "new")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "one state")
    git(root, "branch", "-q", "-D", git(root, "for-each-ref", "--format=%(refname:short)", "refs/heads/ma*"))


def test_candidates_that_were_never_released_go_except_the_newest(project, tmp_path):
    """1 is champion, 2 was never released, 3 is the candidate; a rebuild does not bring 2 back."""
    digests = project.release_three()
    forget_commits(project.workspace.root)
    gc = collector(project)
    assert gc.versions() == []  # 2 is the newest of those without a reason
    for number in (5, 6):
        like = project.registry.version(NAME, 1)
        project.registry.register(NAME, like.model_id, like.run_id, f"{number}" * 64, {}, number=number)
    assert [one.version for one in gc.versions()] == [2, 5]
    assert [one.version for one in collector(project, keep=2).versions()] == [2]
    gone = [one for one in gc.versions() if one.version == 2]
    (row,) = gc.describe(gone)
    assert row.name == "Reach/2"
    assert row.why == "never released, no alias, in no commit, and not among the newest 1"
    gc.remove(gone, gc.local_files(gone))
    assert [one.number for one in read_versions(project.world.disk, NAME)] == [1, 3]
    assert [one.version for one in project.registry.versions(NAME)] == [1, 3, 5, 6]
    assert project.fetched("champion", tmp_path) == digests[1]
    project.rebuild()
    assert [one.version for one in project.registry.versions(NAME)] == [1, 3, 5, 6]


def test_a_version_that_a_commit_names_stays(folder_project):
    """A commit of a branch, of a tag alone, and of an older stash; a version of no commit goes."""
    project, root = folder_project, folder_project.workspace.root
    project.release_three()
    like = project.registry.version(NAME, 1)
    project.registry.register(NAME, like.model_id, like.run_id, "5" * 64, {}, number=5)
    assert (
        collector(project).versions() == []
    )  # main's commits name version 2, and 5 is the newest of the rest
    git(root, "tag", "kept")
    forget_commits(root)
    assert collector(project).versions() == []
    git(root, "tag", "-d", "kept")
    assert [one.version for one in collector(project).versions()] == [2]
    for text in ((project.generations / "2" / "dvc.lock").read_text(), "schema: '2.0'\n"):
        project.workspace.dvc_lock.write_text(text)
        git(root, "stash", "-q")
    assert collector(project).versions() == []


def test_bundles_of_the_folder_that_no_version_names_go(folder_project):
    digests = folder_project.release_three()
    gone = [folder_project.registry.version(NAME, 2)]
    gc = collector(folder_project)
    assert [item.path.name for item in gc.local_files([])] == []
    (bundle,) = gc.local_files(gone)
    assert (bundle.kind, bundle.path.name, bundle.size_bytes > 1000) == ("bundle", digests[2], True)
    gc.remove(gone, [bundle])
    left = folder_project.workspace.state / "tracking" / "bundles"
    assert sorted(path.name for path in left.iterdir()) == sorted([digests[1], digests[3]])


def test_resume_folders_of_finished_runs_go_except_the_present_and_the_extended_one(folder_project):
    folder_project.release_three()
    workspace = folder_project.workspace
    keys = {
        number: locked_inputs(read_lock(folder_project.generations / str(number) / "dvc.lock")["train"]).key
        for number in (1, 2, 3)
    }
    for key in (*keys.values(), "f" * 64):  # the last one is of a run that is not finished
        workspace.work(key).mkdir(parents=True)
        (workspace.work(key) / "state").write_bytes(b"x" * 1000)
    found = collector(folder_project).local_files([])
    assert sorted((item.path.name, item.size_bytes) for item in found) == sorted(
        (keys[n], 1000) for n in (1, 2)
    )
    assert found[0].why == "finished run of train, not the present one"
    text = workspace.params.read_text()
    workspace.params.write_text(text.replace("tau: 5.0e-3", f'tau: 5.0e-3, extends: "{keys[1]}"'))
    assert [item.path.name for item in collector(folder_project).local_files([])] == [keys[2]]


def test_after_the_cache_is_collected_a_rebuild_and_a_rollback_to_every_version_work(
    folder_project, tmp_path
):
    """A fourth training that no commit, version or history names goes; what a stash names stays."""
    project, root = folder_project, folder_project.workspace.root
    digests = project.release_three()
    orphan = root / ".dvc" / "cache" / "files" / "md5" / "aa" / "bb"
    orphan.parent.mkdir(exist_ok=True)
    orphan.write_bytes(b"x" * 5000)
    stashed = root / ".dvc" / "cache" / "files" / "md5" / "cc" / ("d" * 30)
    stashed.parent.mkdir(exist_ok=True)
    stashed.write_bytes(b"y" * 100)
    pointer = root / "data.dvc"
    pointer.write_text(f"outs:\n- md5: cc{'d' * 30}\n  hash: md5\n  size: 100\n  path: data\n")
    git(root, "add", "data.dvc")
    git(root, "stash", "-q")
    assert not pointer.exists()
    listed = collector(project).cache([], remove=False)
    assert [(item.path.name, item.size_bytes) for item in listed] == [("bb", 5000)]
    assert orphan.exists()
    assert collector(project).cache([], remove=True) == listed
    assert (orphan.exists(), stashed.exists()) == (False, True)
    assert collector(project).cache([], remove=True) == []
    shutil.rmtree(project.workspace.state / "tracking")
    project.outputs(2)
    project.rebuild()
    project.promote(2)
    project.releases.rollback(None, reason="back")
    assert project.fetched("champion", tmp_path) == digests[1]
    assert [project.fetched(number, tmp_path) for number in (1, 2, 3)] == list(digests.values())


def test_entries_of_the_history_keep_their_bytes_without_a_commit(folder_project, tmp_path):
    """The commits that held generations 1 and 2 are gone; the files under release/ name their outputs."""
    project, root = folder_project, folder_project.workspace.root
    project.release_three()
    forget_commits(root)
    gc = collector(project)
    assert gc.cache([], remove=False) == []
    gone = [project.registry.version(NAME, 2)]
    freed = gc.cache(gone, remove=True)
    assert {item.kind for item in freed} == {"cache"}
    project.tracker = project.new_tracker("folder", tmp_path / "new")
    project.outputs(3)
    assert any("Reach/2" in line and "lost" in line for line in project.rebuild())
    assert [one.version for one in project.registry.versions(NAME)] == [1, 3]


def test_a_shared_cache_is_refused(folder_project, tmp_path):
    folder_project.release_three()
    config = folder_project.workspace.root / ".dvc" / "config"
    own = config.read_text()
    for section, setting in (
        (f"[cache]\n dir = {tmp_path}/elsewhere\n", "outside of it"),
        ("[cache]\n shared = group\n", "cache.shared is set"),
    ):
        config.write_text(own + section)
        with pytest.raises(ConfigError, match=f"shared with other projects.*{setting}"):
            collector(folder_project).cache([], remove=True)
    config.write_text(own.replace("[core]\n", "[core]\n no_scm = true\n"))
    with pytest.raises(ConfigError, match="DVC does not read the commits"):
        collector(folder_project).cache([], remove=True)
    config.write_text(own)
    cache = folder_project.workspace.root / ".dvc" / "cache"
    cache.rename(tmp_path / "moved")
    cache.symlink_to(tmp_path / "moved")
    with pytest.raises(ConfigError, match="shared with other projects"):
        collector(folder_project).cache([], remove=True)


def test_a_bundle_that_a_recording_names_keeps_its_version(folder_project):
    digests = folder_project.release_three()
    forget_commits(folder_project.workspace.root)
    like = folder_project.registry.version(NAME, 1)
    folder_project.registry.register(NAME, like.model_id, like.run_id, "5" * 64, {}, number=5)
    assert [one.version for one in collector(folder_project).versions()] == [2]
    recording = folder_project.workspace.root / "recordings" / "monday"
    recording.mkdir(parents=True)
    policies = [{"bundle_sha256": digests[2], "contract_sha256": "0" * 64}]
    (recording / "recording.json").write_text(json.dumps({"policies": policies}))
    assert collector(folder_project).versions() == []
    shutil.rmtree(recording)
    folder_project.workspace.ingested.parent.mkdir()
    folder_project.workspace.ingested.write_text(json.dumps({"recordings": [{"policies": policies}]}))
    assert collector(folder_project).versions() == []
    folder_project.workspace.ingested.write_text("{}")
    with pytest.raises(StorageError, match="expected a list `recordings`"):
        recorded_bundles(folder_project.workspace)


def test_a_clone_behind_the_registry_collects_nothing(folder_project):
    folder_project.release_three()
    *_, last = sorted((folder_project.workspace.root / "release" / NAME / "history").iterdir())
    last.unlink()
    with pytest.raises(ReleaseError, match="expected as git holds it"):
        collector(folder_project)
    git(folder_project.workspace.root, "commit", "--quiet", "--all", "--message", "cleaned up")
    with pytest.raises(ReleaseError, match="behind"):
        collector(folder_project)
