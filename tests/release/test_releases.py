"""Release commands on the registry of a folder and a real git repository."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from release_project import IDENTITY, MODEL, ReleaseProject, git, history_files

from sacpipe.core.errors import ConfigError, ReleaseError, StoreError
from sacpipe.core.files import canonical_json
from sacpipe.release.head import HEAD_TAG, Head, LostRaceError, read_head
from sacpipe.release.history import read_history
from sacpipe.release.releases import Target
from sacpipe.tracking.registry import BARRED_TAG, Registry, VersionRecord

MOVE = ["intended", "moved", "proven"]


@pytest.fixture
def project(release_project: ReleaseProject) -> ReleaseProject:
    """A project without a version."""
    return release_project


def test_a_promotion_is_three_records_in_one_commit_and_a_head(project: ReleaseProject) -> None:
    """Intent, move and proof are committed with the operator's identity, and the head names the last record."""
    first = project.register(0.5)
    assert project.promote(first, "first policy")[0].startswith("champion: version 1")
    records = list(project.releases().history().records.values())
    assert [record.kind for record in records] == MOVE
    assert [record.number for record in records] == [1, 2, 3]
    assert records[1].parents == (records[0].sha256,)
    assert {str(record.actor) for record in records} == {"Operator <operator@example.org>"}
    assert {record.reason for record in records} == {"first policy"}
    head = read_head(project.tracker.registry, MODEL)
    assert head is not None
    assert (head.number, head.sha256) == (3, records[2].sha256)
    assert git(project.root, "status", "--porcelain") == ""
    assert len(git(project.root, "log", "--format=%H").splitlines()) == 2
    assert project.champion() == 1


def test_a_promotion_commits_its_own_files_only(project: ReleaseProject) -> None:
    """A staged and an edited file of the operator stay staged and edited."""
    (project.root / "notes").write_text("mine\n")
    (project.root / ".gitignore").write_text(".sacpipe/\nother\n")
    git(project.root, "add", "notes")
    project.promote(project.register(0.5))
    assert git(project.root, "status", "--porcelain").splitlines() == [" M .gitignore", "A  notes"]


@pytest.mark.slow
def test_a_rollback_bars_and_only_again_lifts_the_bar(project: ReleaseProject) -> None:
    """The bundle that was rolled back is refused with who, when and why, until it is promoted again."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    project.promote(second)
    project.releases().rollback(None, reason="it fell over")
    assert project.champion() == 1
    assert project.kinds() == [*MOVE, *MOVE, *MOVE, "barred"]
    tag = project.tracker.registry.version(MODEL, 2).tags[BARRED_TAG]
    assert "Operator <operator@example.org>: it fell over" in tag
    with pytest.raises(
        ReleaseError, match=r"barred: rolled back at .* by Operator .*: it fell over.*--again"
    ):
        project.promote(second)
    with pytest.raises(ReleaseError, match="Former champions that are not barred: none"):
        project.releases().rollback(None, reason="further back")
    project.promote(second, "repaired the robot instead", again=True)
    assert project.champion() == 2
    assert project.tracker.registry.version(MODEL, 2).tags[BARRED_TAG] == ""
    assert project.kinds()[-4:] == ["allowed", *MOVE]


@pytest.mark.slow
def test_a_rollback_goes_to_a_former_champion_by_name(project: ReleaseProject) -> None:
    """Of three champions the first one is named; a version that never was champion is refused."""
    versions = [project.register(gain) for gain in (0.5, 0.25, 0.125, 0.0625)]
    for version in versions[:3]:
        project.promote(version)
    former = project.releases().history().champions()
    assert [one.version for one in former] == [3, 2, 1]
    project.releases().rollback(former[2], reason="both later ones drift")
    assert project.champion() == 1


@pytest.mark.slow
def test_an_alias_that_a_hand_moved_stops_everything_until_it_is_adopted_or_restored(
    project: ReleaseProject,
) -> None:
    """Neither settle nor promote moves it; restore returns to the history's, adopt accepts the registry's."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    project.tracker.registry.set_alias(MODEL, "champion", second.version)
    for command in (project.releases().settle, lambda: project.promote(second)):
        with pytest.raises(
            ReleaseError, match=r"moved by hand: the history names version 1 .*, the registry names version 2"
        ):
            command()
    assert project.champion() == 2
    project.releases().restore("an unknown hand moved it")
    assert project.champion() == 1
    project.tracker.registry.set_alias(MODEL, "champion", second.version)
    project.releases().adopt("the night shift did")
    assert project.champion() == 2
    assert project.releases().settle() == []
    assert project.kinds() == [*MOVE, *MOVE, "adopted"]


@pytest.mark.slow
def test_a_refused_or_stale_verdict_moves_nothing(project: ReleaseProject) -> None:
    """The refusal is a record; a verdict about another champion is none."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    refused = Target(second, {"accepted": False}, is_accepted=False, judged_against=first.bundle_digest)
    with pytest.raises(ReleaseError, match="refused by the release gate"):
        project.releases().promote(refused, reason="hope")
    assert project.kinds() == [*MOVE, "refused"]
    record = list(project.releases().history().records.values())[-1]
    assert (
        project.root / "release" / MODEL / "verdicts" / f"{record.verdict}.json"
    ).read_text() == '{"accepted":false}\n'
    with pytest.raises(ReleaseError, match="judged against champion none, and the champion is now version 1"):
        project.releases().promote(Target(second, {"accepted": True}), reason="judged before")
    assert project.champion() == 1


def clone(project: ReleaseProject, tmp_path: Path) -> tuple[Path, ReleaseProject]:
    """Return a bare repository, and a second clone of it with the same registry."""
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "--quiet", "--bare", str(project.root), str(bare))
    git(project.root, "remote", "add", "origin", str(bare))
    git(project.root, "fetch", "--quiet", "origin")
    git(project.root, "branch", "--quiet", "--set-upstream-to=origin/main")
    git(tmp_path, "clone", "--quiet", str(bare), str(tmp_path / "other"))
    return bare, ReleaseProject(tmp_path / "other", project.tracking, project.tracker)


@pytest.mark.slow
def test_a_clone_behind_the_head_is_sent_to_git_pull(project: ReleaseProject, tmp_path: Path) -> None:
    """The second clone releases after it has pulled, and not before."""
    first, second = project.register(0.5), project.register(0.25)
    _, other = clone(project, tmp_path)
    project.promote(first)
    with pytest.raises(
        ReleaseError, match=r"behind: the newest record is record 3 .* by Operator .*git pull"
    ):
        other.promote(second)
    git(project.root, "push", "--quiet")
    git(other.root, "pull", "--quiet")
    other.promote(second)
    assert project.champion() == 2


@pytest.mark.slow
def test_a_fork_is_named_and_joined(project: ReleaseProject, tmp_path: Path) -> None:
    """Two clones that released without excluding each other: the branch of the head counts."""
    first, second = project.register(0.5), project.register(0.25)
    _, other = clone(project, tmp_path)
    project.promote(first)
    registry = project.tracker.registry
    registry.set_model_tags(MODEL, {"sacpipe.release_head": ""})
    registry.delete_alias(MODEL, "champion")
    other.promote(second)  # as one that saw neither head nor alias
    git(project.root, "push", "--quiet")
    git(other.root, "pull", "--quiet", "--no-rebase", "--no-edit")
    with pytest.raises(ReleaseError, match="forked: 2 records have no successor"):
        other.releases().settle()
    other.releases().resolve("two of us at once")
    assert other.champion() == 2
    assert other.releases().history().champion.version == 2  # type: ignore[union-attr]
    assert other.releases().settle() == []


@pytest.mark.slow
def test_records_that_are_lost_for_good_are_left_behind(project: ReleaseProject, tmp_path: Path) -> None:
    """The clone that wrote the head is gone: resolve goes on, and the alias it moved is drift."""
    first = project.register(0.5)
    _, other = clone(project, tmp_path)
    project.promote(first)
    with pytest.raises(ReleaseError, match="moved by hand: the history names no champion"):
        other.releases().resolve("the other machine burnt")
    other.releases().adopt("it served well")
    assert other.releases().settle() == []
    assert other.kinds() == ["resolved", "adopted"]


def test_without_identity_or_repository_nothing_begins(
    project: ReleaseProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the git commands, and neither registry nor disk is touched."""
    first = project.register(0.5)
    shutil.move(project.root / ".git", tmp_path / "away")
    with pytest.raises(ConfigError, match=r"git init"):
        project.promote(first)
    shutil.move(tmp_path / "away", project.root / ".git")
    for name in IDENTITY:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    git(project.root, "config", "user.useConfigOnly", "true")
    with pytest.raises(ConfigError, match=r"git config user.name"):
        project.promote(first)
    assert project.tracker.registry.model_tags(MODEL) == {}
    assert not (project.root / "release").exists()


def test_a_version_whose_bytes_changed_is_never_champion(project: ReleaseProject) -> None:
    """The proof before the intent refuses it: no record is written."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    stored = next(project.tracking.glob(f"bundles/{second.bundle_digest}/policy.onnx"))
    stored.write_bytes(stored.read_bytes()[:-1] + b"\x00")
    with pytest.raises(
        StoreError, match="version 2: the registry's copy does not prove itself: .*policy.onnx"
    ):
        project.promote(second)
    assert (project.champion(), project.kinds()) == (1, MOVE)


@pytest.mark.slow
def test_a_proof_that_fails_after_the_move_puts_the_alias_back(project: ReleaseProject) -> None:
    """What the registry gives once it is the champion is proven too, not only what it gave before."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    prove = project.world().prove
    calls: list[int] = []

    def once(registry: Registry, version: VersionRecord) -> None:
        calls.append(version.version)
        if len(calls) > 1:
            raise StoreError("the bytes changed")
        prove(registry, version)

    with pytest.raises(StoreError, match="the bytes changed"):
        project.releases(prove=once).promote(Target(second), reason="better")
    assert project.champion() == 1
    assert project.kinds() == [*MOVE, "intended", "moved", "restored"]
    assert project.releases().settle() == []


def test_who_lost_a_race_after_the_move_puts_the_alias_back_under_an_open_intent(
    project: ReleaseProject,
) -> None:
    """Killed there, the next command would find a move to undo, and no record `proven` that nothing holds."""
    project.promote(project.register(0.5))
    world, second = project.world(), project.register(0.25)
    opened: list[tuple[int, bool]] = []

    class Disk:
        """Another promoter publishes once the record `proven` is written."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.disk, name)

        def rename(self, source: str, target: str) -> None:
            world.disk.rename(source, target)
            if b'"kind":"proven"' in (world.disk.read(target) or b""):
                head = Head(number=5, sha256="0" * 64, actor="Other", time="2026-01-01T00:00:00+00:00")
                world.registry.set_model_tags(MODEL, {HEAD_TAG: canonical_json(head.as_tree())})

    class Seen:
        """Note at each move of the alias whether the history on the disk has an open intent."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.registry, name)

        def set_alias(self, model: str, alias: str, version: int) -> None:
            opened.append((version, read_history(world.disk, model).open_intent is not None))
            world.registry.set_alias(model, alias, version)

    with pytest.raises(LostRaceError):
        project.releases(disk=Disk(), registry=Seen()).promote(Target(second), reason="better")
    assert opened == [(2, True), (1, True)]
    assert project.champion() == 1
    assert len(history_files(project)) == 3


def test_a_project_in_a_folder_of_a_repository_commits_there(project: ReleaseProject, tmp_path: Path) -> None:
    """Paths are those of the project, not of the repository around it."""
    shutil.rmtree(project.root / ".git")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "begin")
    project.promote(project.register(0.5))
    committed = git(tmp_path, "ls-files").splitlines()
    assert len(committed) == 3
    assert all(name.startswith(f"project/release/{MODEL}/history/") for name in committed)
    assert project.releases().settle() == []


@pytest.mark.slow
def test_a_rollback_forgets_what_came_after_its_target(project: ReleaseProject) -> None:
    """After 1, 2, 3, 4 and back to 2, the champion before 2 is 1: 3 was skipped for a reason."""
    for gain in (0.5, 0.25, 0.125, 0.0625):
        project.promote(project.register(gain))
    second = project.releases().history().champions()[2]
    project.releases().rollback(second, reason="3 and 4 tremble")
    assert project.champion() == 2
    project.releases().rollback(None, reason="2 does too")
    assert project.champion() == 1
    project.promote(project.tracker.registry.version(MODEL, 3), "looked at again")
    project.releases().rollback(None, reason="no")
    assert project.champion() == 1


@pytest.mark.slow
def test_the_only_champion_is_withdrawn_and_barred(project: ReleaseProject) -> None:
    """A first policy that is bad: robots are left without a champion, and it does not come back by itself."""
    first = project.register(0.5)
    project.promote(first)
    with pytest.raises(ReleaseError, match="--to none --reason .* leaves robots without a champion"):
        project.releases().rollback(None, reason="it trembles")
    project.releases().withdraw(reason="it trembles")
    assert project.champion() is None
    assert project.kinds() == [*MOVE, *MOVE, "barred"]
    with pytest.raises(ReleaseError, match="is barred"):
        project.promote(first)
    project.promote(project.register(0.25))
    assert project.champion() == 2
    assert project.releases().settle() == []


@pytest.mark.slow
def test_a_lost_bar_is_remembered_by_the_registry(project: ReleaseProject, tmp_path: Path) -> None:
    """The clone that rolled back is gone: the one that resolves takes the bar from the version's tag."""
    first, second = project.register(0.5), project.register(0.25)
    _, other = clone(project, tmp_path)
    project.promote(first)
    project.promote(second)
    git(project.root, "push", "--quiet")
    git(other.root, "pull", "--quiet")
    project.releases().rollback(None, reason="it trembles")
    with pytest.raises(ReleaseError, match="moved by hand"):
        other.releases().resolve("that machine burnt")
    other.releases().adopt("what it had left")
    with pytest.raises(ReleaseError, match="is barred: rolled back at .*: rolled back at .* it trembles"):
        other.promote(second)
    assert "it trembles" in project.tracker.registry.version(MODEL, 2).tags[BARRED_TAG]


@pytest.mark.slow
def test_a_bar_that_was_lifted_for_a_promotion_that_failed_is_back(project: ReleaseProject) -> None:
    """`--again` proves before it lifts the bar, and bars again where the move does not end well."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    project.promote(second)
    project.releases().rollback(None, reason="it trembles")
    prove = project.world().prove
    calls: list[int] = []

    def fails_third(registry: Registry, version: VersionRecord) -> None:
        calls.append(version.version)
        if len(calls) == 3:
            raise StoreError("the bytes changed")
        prove(registry, version)

    barred = project.tracker.registry.version(MODEL, 2)
    with pytest.raises(StoreError, match="the bytes changed"):
        project.releases(prove=fails_third).promote(Target(barred), reason="repaired", again=True)
    assert project.kinds()[-5:] == ["allowed", "intended", "moved", "restored", "barred"]
    assert "it trembles" in project.tracker.registry.version(MODEL, 2).tags[BARRED_TAG]
    assert project.releases().settle() == []


@pytest.mark.slow
def test_a_note_below_the_records_is_left_alone(project: ReleaseProject) -> None:
    """Files that no release command wrote are not committed, ignored or not."""
    project.promote(project.register(0.5))
    (project.root / "release" / MODEL / "notes.txt").write_text("mine\n")
    (project.root / ".gitignore").write_text(".sacpipe/\n*.swp\nrelease/\n")
    (project.root / "release" / MODEL / "history" / ".000001.swp").write_text("mine\n")
    project.promote(project.register(0.25))
    tracked = git(project.root, "ls-files", "release").splitlines()
    assert len(tracked) == 6
    assert all(path.endswith(".json") for path in tracked)
