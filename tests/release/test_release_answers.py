"""What release commands tell the operator: who acts next, and why a version is refused."""

from pathlib import Path

import pytest
from release_project import IDENTITY, MODEL, ReleaseProject, git

from sacpipe.core.errors import ReleaseError
from sacpipe.release.log import release_of


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReleaseProject:
    """Return a project without a version."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    return ReleaseProject(tmp_path / "project", tmp_path / "tracking")


@pytest.mark.slow
def test_the_operator_learns_of_the_commit_and_of_the_robots(project: ReleaseProject) -> None:
    """The commit comes last; it is shared by `git push` where there is a remote."""

    def newest() -> str:
        return git(project.root, "rev-parse", "--short", "HEAD").strip()

    first, second = project.register(0.5), project.register(0.25)
    assert project.promote(first)[1:] == [f"commit {newest()}"]
    assert project.promote(first) == [f"version 1 (bundle {first.bundle_digest[:12]}) is champion already"]
    git(project.root, "remote", "add", "origin", str(project.root))
    assert project.promote(second)[1:] == [f"commit {newest()}: `git push` shares it"]
    assert project.releases().rollback(None, reason="it trembles")[1:] == [
        "robots that follow champion go to version 1 at their next poll",
        f"commit {newest()}: `git push` shares it",
    ]
    assert project.releases().withdraw(reason="so does 1")[1:] == [
        "robots keep what they run",
        f"commit {newest()}: `git push` shares it",
    ]


@pytest.mark.slow
def test_a_version_that_a_rollback_cannot_return_to_says_why(project: ReleaseProject) -> None:
    """The champion itself, a barred one and one that never was champion; the champion is not offered."""
    versions = [project.register(gain) for gain in (0.5, 0.25, 0.125, 0.0625)]
    for version in versions[:3]:
        project.promote(version)
    project.releases().rollback(None, reason="it drifts")
    listed = "Former champions that are not barred: version 1 (bundle "
    for version, why in (
        (2, "it is champion already. "),
        (3, 'by Operator <operator@example.org>: it drifts (`sacpipe promote 3 --again --reason "WHY"` '),
        (4, "it was never champion. "),
    ):
        with pytest.raises(ReleaseError) as caught:
            project.releases().rollback(release_of(versions[version - 1]), reason="trembles")
        said = str(caught.value)
        assert f"version {version} (bundle " in said
        assert why in said
        assert said.partition(listed)[2].count("version") == 0
    assert project.champion() == 2


@pytest.mark.slow
def test_no_message_offers_to_adopt_a_barred_version(project: ReleaseProject) -> None:
    """`history --adopt` would refuse it: the message says that it is barred, and how to restore."""
    first, second = project.register(0.5), project.register(0.25)
    project.promote(first)
    project.promote(second)
    project.releases().rollback(None, reason="it trembles")
    project.tracker.registry.set_alias(MODEL, "champion", second.version)
    releases = project.releases()
    for command in (releases.check, releases.settle, lambda: releases.adopt("night shift")):
        with pytest.raises(ReleaseError) as caught:
            command()
        assert "--adopt" not in str(caught.value)
        assert "is barred: rolled back at" in str(caught.value)
        assert '`sacpipe history --restore --reason "WHY"` returns to' in str(caught.value)
