"""Scenes of a release, each written once, on the registry of a folder, on MLflow with SQLite, and on a server.

The server is MLflow's on PostgreSQL with accounts: a trainer registers, a promoter releases, a robot reads.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_on_postgresql import Server
from release_project import git
from settled import faults, state
from sites import Local, Remote, Site, become_operator, with_sqlite

from sacpipe.core.errors import GateError, ReleaseError, StoreError, StoreUnavailableError
from sacpipe.release.releases import Target
from sacpipe.tracking.registry import Registry, VersionRecord

MOVE = ["intended", "moved", "proven"]
COMMON = ("first_and_replaced", "rolled_back", "second_clone", "moved_by_hand")
OF_SERVER = (*COMMON, "server_away", "accounts")


def first_and_replaced(site: Site) -> None:
    """Without a champion the first promotion is one too; the second names it as the one before."""
    project, first, second = site.begin()
    assert project.champion() is None
    assert project.promote(first)[0].endswith("after none")
    assert project.promote(second)[0].endswith(f"after version 1 (bundle {first.bundle_digest[:12]})")
    assert (project.champion(), project.kinds()) == (2, MOVE * 2)
    assert list(faults(project)) == []
    before = state(project)
    assert project.releases().settle() == []
    assert project.promote(second) == [f"version 2 (bundle {second.bundle_digest[:12]}) is champion already"]
    assert state(project) == before


def rolled_back(site: Site) -> None:
    """What was rolled back stays so: run again, promoted again, read by a robot; until `--again`."""
    project, first, second = site.begin()
    project.promote(first)
    project.promote(second)
    project.releases().rollback(None, reason="it fell over")
    assert (project.champion(), list(faults(project))) == (1, [])
    site.act_as("trainer")
    assert project.register(0.25).version == 2
    site.act_as("promoter")
    assert project.releases().settle() == []
    with pytest.raises(ReleaseError, match=r"barred: rolled back at .* by Operator .*: it fell over"):
        project.promote(second)
    with pytest.raises(GateError, match=r"version 2 is barred rolled back at .*: it fell over"):
        site.source(2).resolve()
    known = {first.bundle_digest: "", second.bundle_digest: ""}
    bars = {digest: text for digest, text in site.source(1).bars(known).items() if text}
    assert bars.keys() == {second.bundle_digest}  # a robot falls back to it no more
    assert bars[second.bundle_digest].endswith(": it fell over")
    assert (project.champion(), list(faults(project))) == (1, [])
    project.promote(second, "the robot was repaired", again=True)
    assert (project.champion(), list(faults(project))) == (2, [])
    assert site.source(2).resolve().digest == second.bundle_digest
    assert site.source(1).bars(bars) == {second.bundle_digest: ""}


def second_clone(site: Site) -> None:
    """A clone behind the head is sent to `git pull`; then it releases, and the first one is behind."""
    project, first, second = site.begin()
    other = site.clone("two")
    project.promote(first)
    git(project.root, "push", "--quiet")
    for command in (other.releases().settle, lambda: other.promote(second)):
        with pytest.raises(
            ReleaseError, match=r"behind: the newest record is record 3 .* by Operator.*git pull"
        ):
            command()
    git(other.root, "pull", "--quiet", "--ff-only")
    other.promote(second)
    git(other.root, "push", "--quiet")
    with pytest.raises(ReleaseError, match="behind: the newest record is record 6"):
        project.releases().rollback(None, reason="too late")
    git(project.root, "pull", "--quiet", "--ff-only")
    assert project.releases().settle() == []
    assert [*faults(project), *faults(other)] == []


def moved_by_hand(site: Site) -> None:
    """Drift stops every command until it is restored, or adopted."""
    project, first, second = site.begin()
    project.promote(first)
    for repair, champion in (("restore", 1), ("adopt", 2)):
        project.tracker.registry.set_alias(site.model, "champion", 2)
        for command in (project.releases().settle, lambda: project.promote(second)):
            with pytest.raises(
                ReleaseError, match="moved by hand: the history names version 1 .* names version 2"
            ):
                command()
        getattr(project.releases(), repair)("an unknown hand moved it")
        assert (project.champion(), list(faults(project))) == (champion, [])
    assert project.kinds() == [*MOVE, *MOVE, "adopted"]


class _Before:
    """A registry that does something before each call of a method."""

    def __init__(self, registry: Registry, method: str, act: Callable[[], None]) -> None:
        self._registry, self._method, self._act = registry, method, act

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            self._act()
        return getattr(self._registry, name)


def server_away(site: Site) -> None:
    """The server ends before the alias moves, or after it: the next command undoes, or finishes."""
    assert isinstance(site, Remote)
    project, first, second = site.begin()
    project.promote(first)
    stop, start = site.server.process.end, site.server.process.start
    before = _Before(project.tracker.registry, "set_alias", stop)
    with pytest.raises(StoreUnavailableError):
        project.releases(registry=before).promote(Target(second), reason="better")
    with pytest.raises(StoreUnavailableError):
        project.releases().settle()
    start()
    assert project.releases().settle()[0].startswith("undone: promote of version 2")
    assert (project.champion(), list(faults(project))) == (1, [])

    prove, proofs = project.world().prove, [lambda: None, stop]

    def then_ends(registry: Registry, version: VersionRecord) -> None:
        proofs.pop(0)()
        prove(registry, version)

    with pytest.raises(StoreUnavailableError):
        project.releases(prove=then_ends).promote(Target(second), reason="better")
    start()
    assert project.releases().settle()[0].startswith("finished: promote of version 2")
    assert (project.champion(), list(faults(project))) == (2, [])


def accounts(site: Site) -> None:
    """An account that may not change the model begins nothing; the promoter's may."""
    project, first, second = site.begin()
    project.promote(first)
    before = state(project)
    site.act_as("robot")
    for command in (
        lambda: project.promote(second),
        lambda: project.releases().rollback(None, reason="no right to"),
        lambda: project.releases().adopt("no right to"),
    ):
        with pytest.raises(StoreError, match="403.*may not do this: use one that may"):
            command()
    assert state(project) == before
    site.act_as("promoter")
    assert list(faults(project)) == []
    project.promote(second)
    assert (project.champion(), list(faults(project))) == (2, [])


@pytest.fixture(autouse=True)
def _operator(monkeypatch: pytest.MonkeyPatch) -> None:
    become_operator(monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("scene", COMMON)
def test_on_a_folder(memory_folder: Path, scene: str) -> None:
    """The scene on a folder's registry."""
    globals()[scene](Local(memory_folder, "folder"))


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", COMMON)
def test_on_mlflow_with_sqlite(tmp_path: Path, empty_ledger: Path, scene: str) -> None:
    """The scene on the embedded ledger."""
    globals()[scene](with_sqlite(tmp_path, empty_ledger))


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", OF_SERVER)
def test_on_a_server_with_accounts(
    tmp_path: Path, accounts_server: Server, monkeypatch: pytest.MonkeyPatch, scene: str
) -> None:
    """The scene on MLflow's server on PostgreSQL."""
    globals()[scene](Remote(tmp_path, accounts_server, monkeypatch))
