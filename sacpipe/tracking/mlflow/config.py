"""The section of sacpipe.yaml that chooses MLflow, which is the default: `tracking: mlflow`.

MLFLOW_TRACKING_URI names a tracking server. Without it the ledger is a database in the project's folder of
local files. This module imports no MLflow, because robots read the registry by it.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sacpipe.core.errors import StoreError, StoreUnavailableError
from sacpipe.core.sqlite_file import move_aside
from sacpipe.project.sqlite_address import sqlite_address
from sacpipe.rollout.registries import Address
from sacpipe.rollout.sources import Source
from sacpipe.tracking.mlflow.address import check_driver
from sacpipe.tracking.mlflow.errors import prepare_client
from sacpipe.tracking.mlflow.rest_source import MlflowSource
from sacpipe.tracking.tracker import TrackerConfig

if TYPE_CHECKING:
    from sacpipe.tracking.mlflow.ledger import MlflowLedger

URI = "MLFLOW_TRACKING_URI"


def database(state: Path) -> Path:
    """Return the database of the embedded ledger, in a project's folder of local files."""
    return state / "mlflow.db"


def artifacts(state: Path) -> Path:
    """Return the folder of the artifacts of the embedded ledger."""
    return state / "mlartifacts"


def tracking_uri(state: Path, variables: Mapping[str, str]) -> str:
    """Return the ledger's address: MLFLOW_TRACKING_URI, else the embedded database."""
    return variables.get(URI) or sqlite_address(database(state))


class MlflowTracking(TrackerConfig):
    """MLflow's tracking and its model registry, at one address."""

    name: Literal["mlflow"]

    def open_tracker(self, state: Path | None, variables: Mapping[str, str]) -> "MlflowLedger":
        """Return the ledger at MLFLOW_TRACKING_URI, else in the project's folder."""
        from sacpipe.tracking.mlflow.connection import MlflowConnection
        from sacpipe.tracking.mlflow.ledger import MlflowLedger
        from sacpipe.tracking.mlflow.release_lock import LOCK_VARIABLE

        folder = state or Path()
        check_driver(uri := tracking_uri(folder, variables), URI)
        lock = variables.get(LOCK_VARIABLE, "")
        return MlflowLedger(MlflowConnection(uri, artifacts(folder), lock_address=lock))

    def source(self, address: Address, state: Path | None, variables: Mapping[str, str]) -> Source:
        """Return a source by HTTP of a server, as on a robot; a database is read by MLflow's client."""
        if state is None or variables.get(URI, "").startswith(("http://", "https://")):
            return MlflowSource(address, variables)
        return super().source(address, state, variables)

    def put_unusable_aside(self, state: Path, variables: Mapping[str, str]) -> str | None:
        """Move a database that cannot be used aside; an operator's own server or database never."""
        from sacpipe.tracking.mlflow.check import check_in_child

        uri, own = tracking_uri(state, variables), database(state)
        try:
            check_in_child(uri, artifacts(state))
        except StoreUnavailableError:
            raise
        except StoreError as exc:
            if uri != sqlite_address(own) or not own.exists():
                raise
            aside = move_aside(own)
            return f"the ledger could not be used: {exc} It is {aside} now, and a new one is written."
        return None

    def scoring_server(self, state: Path, uri: str, port: str) -> list[str]:
        """Return the command of MLflow's own scoring server, after its variables are set."""
        prepare_client()
        os.environ[URI] = tracking_uri(state, os.environ)
        server = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri]
        return [*server, "--env-manager", "local", "--host", "127.0.0.1", "--port", port]
