"""A rebuild restores a lost registry, or fills a new one, with what release/ and DVC have, and contradicts nothing."""

import argparse
import shutil

import pytest
from ledger_project import flip, git
from released_project import NAME

from sacpipe.cli.ledger import run
from sacpipe.core.errors import ReleaseError, StoreError
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import locked_outs
from sacpipe.release.head import read_head


def test_a_moved_registry_has_the_same_versions_tags_and_aliases(project, tmp_path):
    """From a folder to MLflow, and from MLflow to a folder."""
    digests = project.release_three()
    project.registry.set_alias(NAME, "candidate", 2)
    before, head = project.state(), read_head(project.registry, NAME)
    shutil.rmtree(project.workspace.root / "out")
    project.outputs(2)  # another policy than any champion
    target = "folder" if "SQLite" in project.tracker.describe() else "mlflow"
    project.tracker = project.new_tracker(target, tmp_path / "new server")
    assert [line.split(": ")[0] for line in project.rebuild()] == [
        *("train", "export", "evaluate"),
        *("Reach/1", "Reach/2", "Reach/3", "Reach@champion", "Reach@candidate"),
    ]
    assert project.state() == before
    assert {one[0]: one[2] for one in before} == {1: ("champion",), 2: ("candidate",), 3: ()}
    assert before[2][3][1].startswith("rolled back")  # version 3 is barred
    assert read_head(project.registry, NAME) == head
    assert [project.fetched(number, tmp_path) for number in (1, 2, 3)] == list(digests.values())
    assert "# Reach version 3" in project.registry.version(NAME, 3).description
    assert project.releases.settle() == []
    assert project.uncommitted() == ""  # the files under release/ say the same as before
    again = project.rebuild()
    assert again[3:] == project.rebuild()[3:]
    assert project.state() == before


def test_a_lost_registry_is_restored_in_its_place_and_a_rollback_to_every_champion_works(
    folder_project, tmp_path
):
    digests = folder_project.release_three()
    shutil.rmtree(folder_project.workspace.state / "tracking")
    with pytest.raises(ReleaseError, match="`sacpipe ledger rebuild` fills a new or lost registry"):
        folder_project.releases.settle()
    folder_project.rebuild()
    assert folder_project.releases.settle() == []
    folder_project.promote(2)
    folder_project.releases.rollback(None, reason="back")
    assert folder_project.fetched("champion", tmp_path) == digests[1]


def test_bytes_come_from_the_remote_where_the_cache_lacks_them(folder_project, tmp_path):
    digests = folder_project.release_three()
    root = folder_project.workspace.root
    shutil.copytree(root / ".dvc" / "cache", tmp_path / "remote")
    config = root / ".dvc" / "config"
    config.write_text(config.read_text() + f" remote = far\n['remote \"far\"']\n url = {tmp_path}/remote\n")
    folder_project.lose_cache()
    folder_project.tracker = folder_project.new_tracker("folder", tmp_path / "new")
    folder_project.rebuild()
    assert folder_project.fetched("champion", tmp_path) == digests[1]


@pytest.mark.acceptance
@pytest.mark.parametrize("lost", [2, 3])
def test_the_number_of_a_lost_version_is_given_to_no_other(folder_project, tmp_path, lost):
    project = folder_project
    digests = project.release_three()
    project.outputs(1)
    project.lose_bundle(lost)
    project.tracker = project.new_tracker("mlflow", tmp_path / "new")
    lines = {line.split(":")[0]: line for line in project.rebuild()}
    assert "lost, and no other bundle gets its number" in lines[f"Reach/{lost}"]
    assert {one.version: one.bundle_digest for one in project.registry.versions(NAME)} == {
        number: digest for number, digest in digests.items() if number != lost
    }
    project.rebuild()  # reserves the number once
    like = project.registry.version(NAME, 1)
    assert project.registry.register(NAME, like.model_id, like.run_id, "f" * 64, {}).version == 4


def test_an_alias_that_was_moved_by_hand_is_not_moved(project):
    project.release_three()
    before = project.state()
    project.registry.set_alias(NAME, "champion", 2)
    moved = project.state()
    with pytest.raises(
        ReleaseError, match="moved by hand: the history names version 1.*registry names version 2"
    ):
        project.rebuild()
    assert project.state() == moved != before


def test_a_champion_alias_that_was_deleted_by_hand_is_not_set_again(folder_project):
    """The version is there, and so is the head: a hand took the champion from the robots."""
    folder_project.release_three()
    folder_project.registry.delete_alias(NAME, "champion")
    before = folder_project.state()
    with pytest.raises(ReleaseError, match="moved by hand: .* the registry names none. Nothing was written"):
        folder_project.rebuild()
    assert folder_project.state() == before
    folder_project.registry.delete_version(NAME, 1)
    folder_project.rebuild()
    assert folder_project.registry.alias(NAME, "champion").version == 1


def test_a_barred_version_does_not_become_the_candidate(folder_project):
    """Version 3 was rolled back; its alias was deleted since."""
    folder_project.release_three()
    folder_project.registry.delete_alias(NAME, "candidate")
    assert folder_project.rebuild()[-1] == "Reach@candidate: version 2"
    assert folder_project.registry.alias(NAME, "candidate").version == 2


def test_a_damaged_bundle_in_dvc_does_not_stop_the_other_versions(folder_project, tmp_path):
    """DVC gives a folder that is no bundle for version 2: its file names the pool's digest."""
    project = folder_project
    digests = project.release_three()
    lock = read_lock(project.generations / "2" / "dvc.lock")
    bundle = locked_outs(lock["export"])["out/export/bundle"]
    (file,) = (project.workspace.root / "release" / NAME / "versions").glob("000002-*")
    file.write_text(file.read_text().replace(bundle, locked_outs(lock["train"])["out/train/pool"]))
    project.tracker = project.new_tracker("folder", tmp_path / "new")
    lines = {line.split(":")[0]: line for line in project.rebuild()}
    assert "lost, and no other bundle gets its number: " in lines["Reach/2"]
    assert {one.version: one.bundle_digest for one in project.registry.versions(NAME)} == {
        number: digests[number] for number in (1, 3)
    }
    assert project.registry.alias(NAME, "champion").version == 1


def test_a_damaged_history_stops_it_before_the_first_write(folder_project, tmp_path):
    folder_project.release_three()
    (first, *_) = sorted((folder_project.workspace.root / "release" / NAME / "history").iterdir())
    data = bytearray(first.read_bytes())
    data[40] ^= 1
    first.write_bytes(data)
    folder_project.tracker = folder_project.new_tracker("folder", tmp_path / "new")
    with pytest.raises(ReleaseError, match=f"{first.name} was edited"):
        folder_project.rebuild()
    assert not (tmp_path / "new" / "tracking").exists()


def test_a_damaged_history_stops_it_before_a_damaged_ledger_is_renamed(folder_project, monkeypatch):
    folder_project.release_three()
    root = folder_project.workspace.root
    (first, *_) = sorted((root / "release" / NAME / "history").iterdir())
    flip(first)
    ledger = folder_project.workspace.state / "tracking"
    (policy,) = ledger.glob("policies/*.json")
    policy.write_text("{")
    monkeypatch.chdir(root)
    monkeypatch.setenv("SACPIPE_TRACKING", "folder")
    with pytest.raises(ReleaseError, match=f"{first.name} was edited"):
        run(argparse.Namespace(action="rebuild"))
    assert [path.name for path in ledger.parent.glob("tracking*")] == ["tracking"]


def test_a_clone_behind_the_head_is_refused(folder_project):
    folder_project.release_three()
    root = folder_project.workspace.root
    *_, last = sorted((root / "release" / NAME / "history").iterdir())
    last.unlink()
    with pytest.raises(ReleaseError, match="expected as git holds it"):
        folder_project.rebuild()
    git(root, "commit", "--quiet", "--all", "--message", "cleaned up")
    with pytest.raises(ReleaseError, match="behind: the newest record is record"):
        folder_project.rebuild()


def test_damaged_files_of_any_version_are_repaired(folder_project, tmp_path):
    """Version 2 was never released, so that no other command looks at it."""
    digests = folder_project.release_three()
    flip(folder_project.workspace.state / "tracking" / "bundles" / digests[2] / "policy.onnx")
    assert folder_project.rebuild()[-1].endswith("Repaired: its files were written again from DVC.")
    assert folder_project.fetched(2, tmp_path) == digests[2]
    assert folder_project.rebuild()[-1] == "Reach@candidate: version 3"


def test_without_a_history_nothing_is_promoted(folder_project, tmp_path):
    """Versions that were registered and never promoted; and a project without release/."""
    for generation in (1, 2):
        folder_project.register(generation)
    folder_project.tracker = folder_project.new_tracker("folder", tmp_path / "new")
    lines = folder_project.rebuild()
    assert lines[-2:] == [
        "Reach@champion: none, because the history promotes no version",
        "Reach@candidate: version 2",
    ]
    assert folder_project.registry.alias(NAME, "champion") is None
    shutil.rmtree(folder_project.workspace.root / "release")
    folder_project.tracker = folder_project.new_tracker("folder", tmp_path / "newer")
    assert folder_project.rebuild()[-1].startswith("releases: none known")
    assert folder_project.registry.versions(NAME) == []


def test_a_number_that_the_registry_cannot_give_again_is_reported_and_remembered(project, tmp_path):
    """MLflow never gives a deleted number again, and the folder gives it to the same bundle."""
    project.release_three()
    project.registry.delete_version(NAME, 2)
    lines = project.rebuild()
    expected = 4 if "SQLite" in project.tracker.describe() else 2
    assert any(line.endswith(", as version 4") for line in lines) == (expected == 4)
    project.tracker = project.new_tracker("mlflow", tmp_path / "new")
    project.rebuild()
    assert [one.version for one in project.registry.versions(NAME)] == sorted({1, 3, expected})


def test_a_lost_champion_is_an_error_that_says_where_to_find_it(folder_project, tmp_path):
    folder_project.release_three()
    folder_project.outputs(2)
    folder_project.lose_cache()
    folder_project.tracker = folder_project.new_tracker("folder", tmp_path / "new")
    with pytest.raises(StoreError, match="the champion, version 1 .* is lost.*`dvc push`"):
        folder_project.rebuild()
    assert git(folder_project.workspace.root, "log", "--oneline", "-1")
