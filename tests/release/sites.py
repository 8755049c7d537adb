"""The registries on which scenes of releases are played: of a folder, MLflow with SQLite, and a server with accounts.

The server is MLflow's on PostgreSQL: a trainer registers, a promoter releases, a robot reads.
"""

import shutil
from pathlib import Path

import pytest
from mlflow_on_postgresql import Server
from release_project import IDENTITY, ReleaseProject, git
from trackers_on_trial import TRACKERS

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

    def embed(self, root: Path) -> dict[str, str]:
        """Return the variables by which the commands of a project find the registry, which may move into it."""
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
        self._name, self._place = name, folder / "tracking"

    def tracker(self) -> Tracker:
        """Open the tracker."""
        return TRACKERS[self._name](self._place)

    def source(self, which: int | str) -> Source:
        """Return the source of a version."""
        config = FolderTracking(name="folder") if self._name == "folder" else MlflowTracking(name="mlflow")
        variables = {"SACPIPE_TRACKING_FOLDER": str(self._place)}
        return config.source(_address(self.model, which), self._place, variables)

    def embed(self, root: Path) -> dict[str, str]:
        """Return the choice of the tracker. MLflow's embedded ledger moves into the project."""
        if self._name == "folder":
            return {"SACPIPE_TRACKING": "folder", "SACPIPE_TRACKING_FOLDER": str(self._place)}
        self._place = self._place.rename(root / ".sacpipe")
        return {"SACPIPE_TRACKING": "mlflow"}


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

    def embed(self, root: Path) -> dict[str, str]:
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
