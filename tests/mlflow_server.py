"""MLflow's own server, the application that `mlflow server` runs, on a free port; says which on stdout.

A script: `mlflow server` itself starts two more processes for what is not asked here, and takes ten
seconds of processor time to do so.
"""

import os
import sys
from pathlib import Path

from werkzeug.serving import make_server

if __name__ == "__main__":
    database, artifacts = sys.argv[1:]
    os.environ |= {
        "_MLFLOW_SERVER_FILE_STORE": database,
        "_MLFLOW_SERVER_REGISTRY_STORE": database,
        "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
        "_MLFLOW_SERVER_ARTIFACT_DESTINATION": Path(artifacts).as_uri(),
        "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
    }
    from mlflow.server import app  # noqa: TID251 - MLflow itself, and nothing of ours

    server = make_server("127.0.0.1", 0, app, threaded=True)
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    server.serve_forever()
