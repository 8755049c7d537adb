"""`sacpipe serve`: the champion over HTTP on loopback, by MLflow's own scoring server."""

import argparse
import os
import sys
from typing import NoReturn

HELP = "serve the champion over HTTP on loopback"
EXAMPLE = "  sacpipe serve --port 5001"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--name", help="registered model; default: release.model_name of params.yaml")
    parser.add_argument("--port", type=int, default=5001, help="on 127.0.0.1; default: %(default)s")


def run(arguments: argparse.Namespace) -> NoReturn:
    """Become the server process; it ends with Ctrl-C or SIGTERM."""
    from pipelines.ledger import open_ledger
    from pipelines.workspace import Workspace
    from sacpipe.core.errors import StoreError
    from sacpipe.params import Params

    workspace = Workspace.enter()
    name = arguments.name or Params.load(workspace.params).release.model_name
    version = open_ledger(workspace).registry.alias(name, "champion")
    if version is None:
        raise StoreError(f"no version of '{name}' is champion yet. `sacpipe run` trains and releases one.")
    uri, port = f"models:/{name}@champion", str(arguments.port)
    sys.stderr.write(
        f"sacpipe: serving {uri} (version {version.version}) at http://127.0.0.1:{port}/invocations\n"
    )
    sys.stderr.flush()
    server = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri, "--env-manager", "local"]
    os.execv(sys.executable, [*server, "--host", "127.0.0.1", "--port", port])  # noqa: S606 - no shell
