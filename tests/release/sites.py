"""The registries on which scenes of releases are played: of a folder, MLflow with SQLite, and a server with accounts.

The server is MLflow's on PostgreSQL: a trainer registers, a promoter releases, a robot reads.
"""

import shutil
from pathlib import Path

import pytest
from mlflow_on_postgresql import Server
from release_project import IDENTITY, ReleaseProject, git
from trackers_on_trial import TRACKERS

from sacpipe.project.sqlite_address import sqlite_address
from sacpipe.release import lease
from sacpipe.rollout.registries import Address
from sacpipe.rollout.sources import Source
from sacpipe.tracking.folder.config import FolderTracking
from sacpipe.tracking.mlflow.config import MlflowTracking, database
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker


class Site:
    """One registry, a bare repository, and the clones that use both."""

    def __init__(self, folder: Path, model: str) -> None:
        self.folder, self.model = folder, model

    def tracker(self) -> Tracker:
        """Open the tracker."""
        raise NotImplementedError

    def act_as(self, account: str) -> None:
        """Use an account, where the registry has some."""

    def source(self, which: int | str) -> Source:
        """Return the source of a version, by number or alias, as a robot reads it."""
        raise NotImplementedError

    def variables(self) -> dict[str, str]:
        """Return the variables by which a command finds the registry."""
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

    def source(self, which: int | str) -> Source:
        """Return the source of a version."""
        config = FolderTracking(name="folder") if self._name == "folder" else MlflowTracking(name="mlflow")
        place = self.folder / "tracking"
        return config.source(_address(self.model, which), place, {"SACPIPE_TRACKING_FOLDER": str(place)})

    def variables(self) -> dict[str, str]:
        """Return the choice of the tracker, and its place."""
        place = self.folder / "tracking"
        of_kind = {
            "folder": {"SACPIPE_TRACKING_FOLDER": str(place)},
            "mlflow": {"MLFLOW_TRACKING_URI": sqlite_address(database(place))},
        }
        return {"SACPIPE_TRACKING": self._name, **of_kind[self._name]}


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

    def source(self, which: int | str) -> Source:
        """Return the source of a version, read by HTTP with the robot's account."""
        address = _address(self.model, which)
        return MlflowTracking(name="mlflow").source(address, None, self.server.variables("robot"))

    def variables(self) -> dict[str, str]:
        """Return the choice of the tracker; `act_as` sets address and account."""
        return {"SACPIPE_TRACKING": "mlflow"}


def _address(model: str, which: int | str) -> Address:
    return Address(model, str(which), is_alias=isinstance(which, str))


def with_sqlite(folder: Path, empty_ledger: Path) -> Local:
    """Return the site of MLflow's embedded ledger."""
    (folder / "tracking").mkdir()
    shutil.copy(empty_ledger, database(folder / "tracking"))
    return Local(folder, "mlflow")


def become_operator(environment: pytest.MonkeyPatch) -> None:
    """Set an identity; no other promoter competes, so that none is waited for."""
    for name, value in IDENTITY.items():
        environment.setenv(name, value)
    environment.setattr(lease, "SETTLE_S", 0.0)
