"""Scenes of a release, each written once, on the registry of a folder, on MLflow with SQLite, and on a server.

The server is MLflow's on PostgreSQL with accounts: a trainer registers, a promoter releases, a robot reads.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_on_postgresql import Server
from release_project import IDENTITY, ReleaseProject, git
from settled import faults, state
from trackers_on_trial import TRACKERS

from sacpipe.core.errors import GateError, ReleaseError, StoreError, StoreUnavailableError
from sacpipe.release import lease
from sacpipe.release.releases import Target
from sacpipe.rollout.registries import Address
from sacpipe.tracking.folder.config import FolderTracking
from sacpipe.tracking.mlflow.config import MlflowTracking
from sacpipe.tracking.registry import Registry, VersionRecord
from sacpipe.tracking.tracker import Tracker

MOVE = ["intended", "moved", "proven"]
COMMON = ("first_and_replaced", "rolled_back", "second_clone", "moved_by_hand")
OF_SERVER = (*COMMON, "server_away", "accounts")


class Site:
    """One registry, a bare repository, and the clones that use both."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model

    def tracker(self) -> Tracker:
        """Open the tracker."""
        raise NotImplementedError

    def act_as(self, account: str) -> None:
        """Use an account, where the registry has some."""

    def barred_source(self, version: int) -> Any:
        """Return the source of a version as a robot reads it."""
        raise NotImplementedError

    def clone(self, name: str) -> ReleaseProject:
        """Return a new clone of the bare repository, which the first one makes."""
        bare = self.folder / "bare.git"
        if not bare.exists():
            ReleaseProject(self.folder / "origin", self.folder, self.tracker())
            git(self.folder, "clone", "--quiet", "--bare", "origin", str(bare))
        git(self.folder, "clone", "--quiet", str(bare), name)
        return ReleaseProject(self.folder / name, self.folder, self.tracker(), self.model)

    def begin(self) -> tuple[ReleaseProject, VersionRecord, VersionRecord]:
        """Return a clone, and two versions that were registered there; the promoter acts from here on."""
        self.act_as("trainer")
        project = self.clone("one")
        versions = [project.register(gain) for gain in (0.5, 0.25)]
        self.act_as("promoter")
        return project, versions[0], versions[1]


class Local(Site):
    """A registry of files below a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, "Push-v0")
        self._name = name

    def tracker(self) -> Tracker:
        """Open the tracker."""
        return TRACKERS[self._name](self.folder / "tracking")

    def barred_source(self, version: int) -> Any:
        """Return the source of a version."""
        config = FolderTracking(name="folder") if self._name == "folder" else MlflowTracking(name="mlflow")
        place = self.folder / "tracking"
        return config.source(
            Address(self.model, str(version), is_alias=False), place, {"SACPIPE_TRACKING_FOLDER": str(place)}
        )


class Remote(Site):
    """The server; each scene has a model of its own."""

    def __init__(self, folder: Path, server: Server, environment: pytest.MonkeyPatch) -> None:
        super().__init__(folder, f"Push-{folder.name}")
        self.server, self._environment = server, environment
        self._is_permitted = False

    def tracker(self) -> Tracker:
        """Open the tracker. MLflow's client reads the account from the environment at each request."""
        return MlflowTracking(name="mlflow").open_tracker(
            self.folder, {"MLFLOW_TRACKING_URI": self.server.uri}
        )

    def act_as(self, account: str) -> None:
        """Use an account; the promoter is given his permission once the trainer's model exists."""
        for name, value in self.server.variables(account).items():
            self._environment.setenv(name, value)
        if account == "promoter" and not self._is_permitted:
            self.server.permit(self.model, account, "EDIT")
            self._is_permitted = True

    def barred_source(self, version: int) -> Any:
        """Return the source of a version, read by HTTP with the robot's account."""
        address = Address(self.model, str(version), is_alias=False)
        return MlflowTracking(name="mlflow").source(address, None, self.server.variables("robot"))


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
        site.barred_source(2).resolve()
    assert (project.champion(), list(faults(project))) == (1, [])
    project.promote(second, "the robot was repaired", again=True)
    assert (project.champion(), list(faults(project))) == (2, [])
    assert site.barred_source(2).resolve().digest == second.bundle_digest


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
    """Set an identity; no other promoter competes, so that none is waited for."""
    for name, value in IDENTITY.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(lease, "SETTLE_S", 0.0)


@pytest.mark.parametrize("scene", COMMON)
def test_on_a_folder(memory_folder: Path, scene: str) -> None:
    """The scene on a folder's registry."""
    globals()[scene](Local(memory_folder, "folder"))


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", COMMON)
def test_on_mlflow_with_sqlite(tmp_path: Path, empty_ledger: Path, scene: str) -> None:
    """The scene on the embedded ledger."""
    (tmp_path / "tracking").mkdir()
    shutil.copy(empty_ledger, tmp_path / "tracking" / "mlflow.db")
    globals()[scene](Local(tmp_path, "mlflow"))


@pytest.mark.acceptance
@pytest.mark.parametrize("scene", OF_SERVER)
def test_on_a_server_with_accounts(
    tmp_path: Path, accounts_server: Server, monkeypatch: pytest.MonkeyPatch, scene: str
) -> None:
    """The scene on MLflow's server on PostgreSQL."""
    globals()[scene](Remote(tmp_path, accounts_server, monkeypatch))
