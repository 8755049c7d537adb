"""MLflow's addresses of a whole process, set without a change of the process's environment.

`mlflow.set_tracking_uri` and `set_registry_uri` write MLFLOW_TRACKING_URI and MLFLOW_REGISTRY_URI. With them,
a workspace that is opened later in the same process would take the address of the one before as the user's.
"""

import os
import threading

_VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")

_lock = threading.Lock()
"""Held while the variables are changed: another thread would take MLflow's values as the user's."""


def set_process_addresses(uri: str) -> None:
    """Make `uri` the address of tracking and registry in this process. Children do not inherit it."""
    import mlflow

    with _lock:
        before = {name: os.environ.get(name) for name in _VARIABLES}
        try:
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
