"""A project with three registered versions and their releases, on a registry that a test may lose."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ledger_project import git

from sacpipe.bundle.files import bundle_digest
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.stage_key import locked_outs
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.release.history import History
from sacpipe.release.real_world import open_world
from sacpipe.release.rebuild import rebuild
from sacpipe.release.releases import Releases, Target
from sacpipe.release.versions import write_version
from sacpipe.release.world import World
from sacpipe.tracking.folder.files import TrackingFolder
from sacpipe.tracking.folder.tracker import FolderTracker
from sacpipe.tracking.ledger import record_stage, register_bundle
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker

NAME = "Reach"


@dataclass
class ReleasedProject:
    """A copy of the project of `generations`."""

    workspace: Workspace
    generations: Path
    tracker: Tracker
    empty_database: Path

    @classmethod
    def make(cls, kind: str, generations: Path, folder: Path, empty_database: Path) -> "ReleasedProject":
        shutil.copytree(generations / "project", folder / "project", symlinks=True)
        workspace = Workspace(folder / "project")
        made = cls(workspace, generations, None, empty_database)
        made.tracker = made.new_tracker(kind, workspace.state)
        return made

    def new_tracker(self, kind: str, folder: Path) -> Tracker:
        """An empty tracker in a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        if kind == "folder":
            return FolderTracker(TrackingFolder(folder / "tracking"))
        shutil.copy(self.empty_database, folder / "mlflow.db")
        return MlflowLedger(MlflowConnection(f"sqlite:///{folder}/mlflow.db", folder / "mlartifacts"))

    @property
    def world(self) -> World:
        return open_world(self.workspace, self.tracker)

    @property
    def releases(self) -> Releases:
        return Releases(self.world, NAME)

    @property
    def history(self) -> History:
        return self.releases.history()

    @property
    def registry(self):
        return self.tracker.registry

    def outputs(self, generation: int) -> None:
        """Make out/ and dvc.lock those of a generation, as a run leaves them."""
        kept = self.generations / str(generation)
        shutil.rmtree(self.workspace.root / "out", ignore_errors=True)
        shutil.copytree(kept / "out", self.workspace.root / "out")
        shutil.copy(kept / "dvc.lock", self.workspace.dvc_lock)

    def register(self, generation: int) -> VersionRecord:
        """Record and register a generation as `sacpipe run` does."""
        self.outputs(generation)
        for stage in STAGES:
            record_stage(self.workspace, self.tracker, stage)
        version = register_bundle(self.workspace, self.tracker, NAME)
        self.registry.set_version_tags(NAME, version.version, {"sacpipe.verdict": f"accepted: {generation}"})
        version = self.registry.version(NAME, version.version)
        write_version(self.world, version, read_lock(self.workspace.dvc_lock))
        self.registry.set_alias(NAME, "candidate", version.version)
        return version

    def promote(self, number: int) -> None:
        version = self.registry.version(NAME, number)
        entries = read_lock(self.generations / str(number) / "dvc.lock")
        self.releases.promote(Target(version, entries=entries), reason=f"generation {number}")

    def release_three(self) -> dict[int, str]:
        """Register three, promote 1 and 3, roll back to 1; return the digests by number."""
        for generation in (1, 2, 3):
            assert self.register(generation).version == generation
        self.promote(1)
        self.promote(3)
        self.releases.rollback(None, reason="it shook")
        return {one.version: one.bundle_digest for one in self.registry.versions(NAME)}

    def rebuild(self) -> list[str]:
        return list(rebuild(self.workspace, self.tracker, self.world))

    def state(self) -> list[tuple]:
        """All that a robot or an operator sees of the versions."""
        shown = ("sacpipe.verdict", "sacpipe.barred", "sacpipe.train_key", "sacpipe.commit")
        return [
            (one.version, one.bundle_digest, one.aliases, tuple(one.tags.get(tag, "") for tag in shown))
            for one in self.registry.versions(NAME)
        ]

    def fetched(self, which: int | str, folder: Path) -> str:
        """The digest of the bundle that a robot is given for a number or an alias."""
        return self.registry.fetch_bundle(
            NAME, which, folder / f"fetched-{which}-{os.urandom(4).hex()}"
        ).digest

    def digest(self) -> str:
        """The bundle in out/."""
        return bundle_digest(self.workspace.bundle, follow_cache_links=True)

    def lose_cache(self) -> None:
        shutil.rmtree(self.workspace.root / ".dvc" / "cache")

    def lose_bundle(self, generation: int) -> None:
        """Remove what DVC's cache has of the bundle of a generation."""
        entry = read_lock(self.generations / str(generation) / "dvc.lock")["export"]
        md5 = locked_outs(entry)["out/export/bundle"]
        (self.workspace.root / ".dvc" / "cache" / "files" / "md5" / md5[:2] / md5[2:]).unlink()

    def uncommitted(self) -> str:
        return git(self.workspace.root, "status", "--porcelain", "--", "release")
