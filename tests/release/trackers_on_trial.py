"""The trackers on which the release commands are tried: in a folder of their own, or a server by its variables."""

import importlib
import os
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
    "server": lambda place: MlflowTracking(name="mlflow").open_tracker(place, os.environ),
}
_SLOW_IMPORTS = ("onnxruntime", "sacpipe.robot.policy")
_SLOW_IMPORTS_OF_MLFLOW = (
    "mlflow.onnx",
    "mlflow.pyfunc",
    "mlflow.store.model_registry.rest_store",
    "mlflow.store.model_registry.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracing.processor.otel",
    "mlflow.tracking.request_header.registry",
    "psycopg2",
)


def import_first(name: str) -> None:
    """Import what a tracker needs before this process is copied: two seconds of each copy otherwise."""
    is_mlflow = name != "folder"
    for module in (*_SLOW_IMPORTS, *(_SLOW_IMPORTS_OF_MLFLOW if is_mlflow else ())):
        importlib.import_module(module)
    if is_mlflow:
        from sqlalchemy.orm import configure_mappers

        configure_mappers()
