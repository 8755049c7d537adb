"""Records that a hand or a power cut changed are named, and nothing acts until git restores them."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from release_project import MODEL, ReleaseProject, git, history_files

from sacpipe.core.errors import ReleaseError
from sacpipe.release.real_world import ProjectDisk, ProjectGit
from sacpipe.release.rebuild import read_histories
from sacpipe.release.releases import Target


def _edit(files: list[Path]) -> str:
    files[1].write_bytes(files[1].read_bytes().replace(b"better", b"bitter"))
    return f"{files[1].name} was edited or cut short"


def _drop(files: list[Path]) -> str:
    files[1].unlink()
    return f"the record before {files[2].name} is missing"


def _double(files: list[Path]) -> str:
    copy = files[1].with_name(files[1].name.replace("000002", "000004"))
    shutil.copy(files[1], copy)
    return f"{copy.name} holds record 2: it is a copy, or was renamed"


def _reorder(files: list[Path]) -> str:
    swapped = [
        files[1].with_name(f"000003-{files[1].name[7:]}"),
        files[2].with_name(f"000002-{files[2].name[7:]}"),
    ]
    for old, new in zip(files[1:], swapped, strict=True):
        old.rename(new)
    return f"{swapped[0].name} holds record 2"


def _cut(files: list[Path]) -> str:
    files[2].write_bytes(files[2].read_bytes()[:-40])
    return f"{files[2].name} was edited or cut short"


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_edit, _drop, _double, _reorder, _cut])
def test_damage_of_the_history_is_named_and_nothing_acts(
    release_project: ReleaseProject, damage: Callable[[list[Path]], str]
) -> None:
    """Each way to tamper is named with its file, and git brings the history back."""
    first, second = release_project.register(0.5), release_project.register(0.25)
    release_project.promote(first)
    fault = damage(history_files(release_project))
    with pytest.raises(ReleaseError) as refusal:
        release_project.promote(second)
    assert fault in str(refusal.value)
    assert release_project.champion() == 1
    git(release_project.root, "clean", "--quiet", "--force", "release")
    git(release_project.root, "checkout", "--quiet", "HEAD", "--", "release")
    release_project.promote(second)
    assert release_project.champion() == 2


@pytest.mark.slow
@pytest.mark.parametrize("dropped", ["the newest record", "all records", "a verdict", "the folder"])
def test_what_git_holds_and_the_disk_lacks_is_named_and_nothing_acts(
    release_project: ReleaseProject, dropped: str
) -> None:
    """What the chain alone cannot show, and `git pull` does not bring back."""
    first, second = release_project.register(0.5), release_project.register(0.25)
    release_project.releases().promote(Target(first, verdict={"accepted": True}), reason="better")
    records, folder = history_files(release_project), release_project.root / "release" / MODEL
    verdicts = sorted((folder / "verdicts").iterdir())
    gone = {"the newest record": records[-1:], "all records": records, "a verdict": verdicts}
    for path in gone.get(dropped, []):
        path.unlink()
    if dropped == "the folder":
        shutil.rmtree(folder.parent)
    before = release_project.tracker.registry.model_tags(MODEL)
    for act in (
        lambda: release_project.promote(second),
        lambda: release_project.releases().rollback(None, reason="it trembles"),
        lambda: release_project.releases().resolve("lost"),
        lambda: release_project.releases().settle(),
        lambda: release_project.releases().check(),
        lambda: read_histories(ProjectGit(release_project.root), ProjectDisk(release_project.root)),
    ):
        with pytest.raises(ReleaseError, match=r"expected as git holds it, found it missing") as refusal:
            act()
        named = gone.get(dropped, records)[-1].name
        assert named in str(refusal.value)
    assert release_project.tracker.registry.model_tags(MODEL) == before
    git(release_project.root, *re.search("`git (checkout .*?)`", str(refusal.value))[1].split())  # type: ignore[index]
    release_project.promote(second)
    assert release_project.champion() == 2


def test_an_edited_verdict_is_named(release_project: ReleaseProject) -> None:
    version = release_project.register(0.5)
    release_project.releases().promote(Target(version, verdict={"accepted": True}), reason="better")
    verdict = next((release_project.root / "release" / MODEL / "verdicts").iterdir())
    verdict.write_text(verdict.read_text().replace("}", " }"))
    with pytest.raises(ReleaseError, match=f"{verdict.name}: expected as git holds it, found it .*edited"):
        release_project.releases().check()


def test_files_that_git_does_not_hold_and_files_of_others_are_left_alone(
    release_project: ReleaseProject,
) -> None:
    """Nothing could restore the first, and the command that is advised leaves the second as they are."""
    version, folder = release_project.register(0.5), release_project.root / "release" / MODEL
    release_project.releases().promote(Target(version, verdict={"accepted": True}), reason="better")
    (folder / "verdicts" / f"{'ab' * 32}.json").write_text("{}")
    (folder / "notes.txt").write_text("mine")
    git(release_project.root, "add", "--force", str(folder / "notes.txt"))
    git(release_project.root, "commit", "--quiet", "--message", "notes")
    (folder / "notes.txt").write_text("mine, longer")
    release_project.promote(release_project.register(0.25))
    history_files(release_project)[-1].unlink()
    with pytest.raises(ReleaseError) as refusal:
        release_project.releases().check()
    git(release_project.root, *re.search("`git (checkout .*?)`", str(refusal.value))[1].split())  # type: ignore[index]
    release_project.releases().settle()
    assert (folder / "notes.txt").read_text() == "mine, longer"


def test_a_dropped_newest_record_is_noticed_by_the_head(release_project: ReleaseProject) -> None:
    """Where git does not hold it either: the head says that there is one."""
    release_project.promote(release_project.register(0.5))
    newest = history_files(release_project)[-1]
    newest.unlink()
    git(release_project.root, "commit", "--quiet", "--all", "--message", "cleaned up")
    with pytest.raises(ReleaseError, match="this clone is behind: the newest record is record 3"):
        release_project.promote(release_project.register(0.25))
