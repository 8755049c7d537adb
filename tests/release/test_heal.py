"""What a registry lost is found by the next release command, and repaired where DVC has the bytes."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from ledger_project import flip
from released_project import NAME, ReleasedProject
from small_project import small_params, with_values

from sacpipe.bundle.files import bundle_digest
from sacpipe.cli.release_commands import open_releases
from sacpipe.core.errors import MISSING_FILES, ReleaseError, StoreError
from sacpipe.flow.release_steps import settle
from sacpipe.params.model import Params
from sacpipe.release.head import HEAD_TAG, read_head
from sacpipe.release.heal import damage, heal
from sacpipe.release.known_versions import REPAIR_TAG
from sacpipe.release.lease import LEASE_TAG
from sacpipe.tracking.chosen import open_ledger
from sacpipe.tracking.folder.registry import FolderRegistry


def healed(project: ReleasedProject) -> list[str]:
    return heal(project.workspace, project.tracker, project.world, NAME)


def stored_policies(project: ReleasedProject) -> dict[str, Path]:
    """Path of policy.onnx in the registry, by the digest of the bundle."""
    return {bundle_digest(path.parent): path for path in project.workspace.state.rglob("policy.onnx")}


def test_nothing_is_written_where_nothing_is_wrong(project):
    project.release_three()
    before = {path: path.stat().st_mtime_ns for path in project.workspace.state.rglob("policy.onnx")}
    assert healed(project) == []
    assert {path: path.stat().st_mtime_ns for path in project.workspace.state.rglob("policy.onnx")} == before


def test_a_policy_that_was_never_released_has_nothing_to_heal(folder_project):
    assert healed(folder_project) == []


@pytest.mark.parametrize("breaks", [flip, Path.unlink])
def test_a_flipped_byte_and_a_missing_file_are_repaired_from_dvc(project, tmp_path, breaks):
    digests = project.release_three()
    policies = stored_policies(project)
    breaks(policies[digests[1]])  # the champion
    breaks(policies[digests[3]])  # the champion before, and the candidate
    shutil.rmtree(project.workspace.root / "out")
    lines = healed(project)
    assert [line.split(" is ")[0] for line in lines] == ["Reach/1", "Reach/3"]
    assert all(line.endswith("Repaired: its files were written again from DVC.") for line in lines)
    assert "policy.onnx" in lines[0]
    assert healed(project) == []
    assert project.fetched(1, tmp_path) == digests[1]
    assert project.fetched(3, tmp_path) == digests[3]


def test_mlflows_own_model_file_is_repaired_too(project):
    """Other programs load `model.onnx`; the folder has none."""
    project.release_three()
    served = list(project.workspace.state.rglob("model.onnx"))
    for path in served:
        flip(path)
    assert len(healed(project)) == (2 if served else 0)
    assert damage(project.registry, project.registry.version(NAME, 1)) is None


def test_bytes_that_dvc_lacks_are_reported_with_the_ways_to_have_them_again(folder_project):
    digests = folder_project.release_three()
    flip(stored_policies(folder_project)[digests[1]])
    folder_project.lose_bundle(1)
    folder_project.outputs(2)
    (line,) = healed(folder_project)
    assert "Reach/1 is damaged in the registry" in line
    assert "It was not repaired" in line
    assert "`dvc push` in a clone that has the bytes" in line
    assert damage(folder_project.registry, folder_project.registry.version(NAME, 1)) is not None


def test_a_version_deleted_by_hand_is_registered_again(project, tmp_path):
    """The champion's predecessor was deleted: the folder gives its number again, and MLflow another one."""
    digests = project.release_three()
    project.registry.set_alias(NAME, "candidate", 2)
    project.registry.delete_version(NAME, 3)
    (line,) = healed(project)
    version = next(one for one in project.registry.versions(NAME) if one.bundle_digest == digests[3])
    if "SQLite" in project.tracker.describe():
        assert version.version > 3
        assert f"as version {version.version}: this registry never gives a number twice." in line
        assert f"pin it to Reach/{version.version}" in line
    else:
        assert version.version == 3
        assert line.endswith("Repaired: it was registered again, under its number.")
    assert healed(project) == []
    assert project.fetched(version.version, tmp_path) == digests[3]
    assert project.releases.settle() == []
    assert project.registry.version(NAME, version.version).barred.startswith("rolled back")


def test_a_champion_deleted_with_its_alias_is_champion_again(project, tmp_path):
    digests = project.release_three()
    project.registry.delete_alias(NAME, "champion")
    project.registry.delete_version(NAME, 1)
    lines = healed(project)
    assert lines[-1].startswith("Reach@champion names version")
    assert project.fetched("champion", tmp_path) == digests[1]
    assert project.releases.settle() == []


def test_a_damaged_version_that_a_killed_repair_had_registered_is_repaired(project, tmp_path):
    """Its files first: else no proof would ever let the alias go back."""
    digests = project.release_three()
    flip(stored_policies(project)[digests[1]])
    project.registry.delete_alias(NAME, "champion")
    project.registry.set_model_tags(NAME, {REPAIR_TAG: digests[1]})
    lines = healed(project)
    assert lines[0].startswith("Reach/1 is damaged in the registry")
    assert lines[-1] == "Reach@champion names version 1 again."
    assert project.fetched("champion", tmp_path) == digests[1]
    assert project.registry.model_tags(NAME)[REPAIR_TAG] == ""


def test_a_note_of_a_bundle_that_no_record_names_is_passed_over(folder_project):
    folder_project.release_three()
    folder_project.registry.set_model_tags(NAME, {REPAIR_TAG: "ab" * 32})
    assert healed(folder_project) == []


def test_an_alias_deleted_by_hand_is_drift_and_not_healed(folder_project):
    folder_project.release_three()
    folder_project.registry.delete_alias(NAME, "champion")
    assert healed(folder_project) == []
    assert folder_project.registry.alias(NAME, "champion") is None


def settle_of_a_run(workspace):
    settle(workspace, Params.load(workspace.params))


def settle_of_a_command(workspace):
    open_releases(workspace, None)


@pytest.mark.parametrize("command", [settle_of_a_run, settle_of_a_command])
def test_another_or_an_empty_registry_is_not_filled(folder_project, tmp_path, monkeypatch, command):
    """A mistyped address, or a database that was deleted: numbers and aliases are a rebuild's work."""
    folder_project.release_three()
    workspace = folder_project.workspace
    workspace.params.write_text(with_values(small_params(), model_name=NAME))
    monkeypatch.setenv("SACPIPE_TRACKING", "folder")
    monkeypatch.setenv("SACPIPE_TRACKING_FOLDER", str(tmp_path / "mistyped"))
    with pytest.raises(ReleaseError, match="Check the registry's address; `sacpipe ledger rebuild` fills"):
        command(workspace)
    registry = open_ledger(workspace).registry
    assert (registry.versions(NAME), registry.model_tags(NAME)) == ([], {})


def lose_champion(project: ReleasedProject) -> None:
    """Delete version 1 with its alias, as MLflow's page does."""
    project.release_three()
    project.registry.delete_alias(NAME, "champion")
    project.registry.delete_version(NAME, 1)


def publish_elsewhere(project: ReleasedProject) -> None:
    """Make a record of another clone the head."""
    head = read_head(project.registry, NAME).as_tree()
    project.registry.set_model_tags(NAME, {HEAD_TAG: json.dumps({**head, "sha256": "f" * 64})})


def test_a_clone_that_is_behind_repairs_nothing(folder_project):
    lose_champion(folder_project)
    publish_elsewhere(folder_project)
    before = folder_project.state()
    assert healed(folder_project) == []
    assert folder_project.state() == before


def test_a_deleted_champion_is_not_restored_while_another_promoter_has_the_lease(folder_project):
    lose_champion(folder_project)
    lease = {"owner": "another", "expires": 4e9, "actor": "B <b@example.org>"}
    folder_project.registry.set_model_tags(NAME, {LEASE_TAG: json.dumps(lease)})
    (line,) = healed(folder_project)
    assert line.startswith("Reach/1: bundle ")
    assert "not repaired: policy 'Reach' is being released by B <b@example.org>" in line
    assert [one.version for one in folder_project.registry.versions(NAME)] == [2, 3]


def test_an_alias_that_another_promoter_sets_during_the_proof_stays(folder_project):
    lose_champion(folder_project)

    def prove_slowly(registry, version):
        publish_elsewhere(folder_project)
        registry.set_alias(NAME, "champion", 2)

    world = replace(folder_project.world, prove=prove_slowly)
    (line,) = heal(folder_project.workspace, folder_project.tracker, world, NAME)
    assert line.endswith("it was registered again, under its number.")
    assert folder_project.registry.alias(NAME, "champion").version == 2
    assert folder_project.registry.model_tags(NAME)[LEASE_TAG] == ""


def test_the_champion_is_not_set_by_a_clone_that_lost_its_lease_during_the_proof(folder_project):
    lose_champion(folder_project)

    def prove_too_long(registry, version):
        lease = {"owner": "another", "expires": 4e9, "actor": "B <b@example.org>"}
        registry.set_model_tags(NAME, {LEASE_TAG: json.dumps(lease)})

    world = replace(folder_project.world, prove=prove_too_long)
    *_, line = heal(folder_project.workspace, folder_project.tracker, world, NAME)
    assert "being released by B <b@example.org>" in line
    assert folder_project.registry.alias(NAME, "champion") is None


class RefusingRegistry(FolderRegistry):
    """Gives no files, as a server with another password, or as one that lost them."""

    code = ""

    def download(self, record, folder):
        raise StoreError("a request failed.", self.code)


def test_a_refusal_of_the_store_is_no_damage(folder_project):
    """A version is written again where its files are lost, and not where this account may not read them."""
    folder_project.release_three()
    version = folder_project.registry.version(NAME, 1)
    registry = RefusingRegistry(folder_project.tracker._folder)
    with pytest.raises(StoreError, match="a request failed"):
        damage(registry, version)
    registry.code = MISSING_FILES
    assert damage(registry, version) == "a request failed."
