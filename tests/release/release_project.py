"""A project with a git repository, the registry of a folder, and registered bundles of a few bytes."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

from sacpipe.bundle.files import bundle_digest
from sacpipe.project.workspace import Workspace
from sacpipe.release.real_world import open_world
from sacpipe.release.releases import Releases, Target
from sacpipe.release.world import World
from sacpipe.testing.tracked_bundles import example_bundle
from sacpipe.tracking.folder.config import FolderTracking
from sacpipe.tracking.registry import VersionRecord
from sacpipe.tracking.tracker import Tracker

MODEL = "Push-v0"
IDENTITY = {
    "GIT_AUTHOR_NAME": "Operator",
    "GIT_AUTHOR_EMAIL": "operator@example.org",
    "GIT_COMMITTER_NAME": "Operator",
    "GIT_COMMITTER_EMAIL": "operator@example.org",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


def git(root: Path, *arguments: str) -> str:
    """Run git with an identity, and return what it prints."""
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        env={**os.environ, **IDENTITY},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


class ReleaseProject:
    """A repository, and a tracking folder that another clone may share."""

    def __init__(
        self, root: Path, tracking: Path, tracker: Tracker | None = None, model: str = MODEL
    ) -> None:
        self.root, self.tracking, self.model = root, tracking, model
        self.tracker: Tracker = tracker or FolderTracking(name="folder").open_tracker(
            None, {"SACPIPE_TRACKING_FOLDER": str(tracking)}
        )
        if (root / ".git").exists():
            return
        root.mkdir(exist_ok=True)
        git(root, "init", "--quiet", "--initial-branch=main")
        (root / ".gitignore").write_text(".sacpipe/\n")
        git(root, "add", ".gitignore")
        git(root, "commit", "--quiet", "--message", "begin")

    def world(self) -> World:
        """Return the surroundings of the release commands."""
        return open_world(Workspace(self.root), self.tracker)

    def releases(self, **changes: object) -> Releases:
        """Return the release commands, with some of the surroundings replaced."""
        return Releases(replace(self.world(), **changes), self.model)  # type: ignore[arg-type]

    def register(self, gain: float) -> VersionRecord:
        """Register the bundle of a gain."""
        folder = self.root / ".sacpipe" / f"bundle-{gain}"
        if not folder.is_dir():
            example_bundle(folder, gain)
        digest = bundle_digest(folder)
        run_id = self.tracker.ensure_run(digest, "export", {}, {})
        model_id = self.tracker.log_model(run_id, folder)
        return self.tracker.registry.register(self.model, model_id, run_id, digest, {})

    def champion(self) -> int | None:
        """Return the number of the version that the alias names."""
        found = self.tracker.registry.alias(self.model, "champion")
        return found and found.version

    def promote(self, version: VersionRecord, reason: str = "better", *, again: bool = False) -> list[str]:
        """Promote a version without a verdict."""
        return self.releases().promote(Target(version), reason=reason, again=again)

    def kinds(self) -> list[str]:
        """Return the kinds of the records, oldest first."""
        return [record.kind for record in self.releases().history().records.values()]


def history_files(project: ReleaseProject) -> list[Path]:
    """Return the files of the history, oldest first."""
    return sorted((project.root / "release" / MODEL / "history").iterdir())
