"""The section of sacpipe.yaml that chooses a plain folder: `tracking: folder`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from sacpipe.core.errors import ConfigError, StoreError
from sacpipe.core.sqlite_file import move_aside
from sacpipe.tracking.folder.files import TrackingFolder
from sacpipe.tracking.folder.tracker import FolderTracker
from sacpipe.tracking.tracker import TrackerConfig

FOLDER = "SACPIPE_TRACKING_FOLDER"
"""Environment variable with another folder than the project's own, e.g. one that a robot mounts."""


class FolderTracking(TrackerConfig):
    """Runs, versions and bundles in SACPIPE_TRACKING_FOLDER, else in the project's .sacpipe/tracking."""

    name: Literal["folder"]

    def open_tracker(self, state: Path | None, variables: Mapping[str, str]) -> FolderTracker:
        """Return the tracker of the folder."""
        chosen = variables.get(FOLDER)
        if not chosen and state is None:
            raise ConfigError(
                f"{FOLDER}: expected the folder of the registry, found none. Set it to the folder that "
                "`sacpipe run` writes, or name a bundle's folder."
            )
        return FolderTracker(TrackingFolder(Path(chosen) if chosen else _own(state)))

    def put_unusable_aside(self, state: Path, variables: Mapping[str, str]) -> str | None:
        """Move the project's own folder aside where a file of it is damaged or of another format."""
        try:
            self.open_tracker(state, variables).check()
        except StoreError as exc:
            if variables.get(FOLDER):
                raise
            return f"the ledger could not be used: {exc} It is {move_aside(_own(state))} now."
        return None


def _own(state: Path | None) -> Path:
    return (state or Path()) / "tracking"
