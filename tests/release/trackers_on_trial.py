"""The trackers on which the release commands are tried, each in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

from sacpipe.tracking.folder.config import FolderTracking
from sacpipe.tracking.mlflow.config import MlflowTracking
from sacpipe.tracking.tracker import Tracker

TRACKERS: dict[str, Callable[[Path], Tracker]] = {
    "folder": lambda place: FolderTracking(name="folder").open_tracker(
        None, {"SACPIPE_TRACKING_FOLDER": str(place)}
    ),
    "mlflow": lambda place: MlflowTracking(name="mlflow").open_tracker(place, {}),
}
