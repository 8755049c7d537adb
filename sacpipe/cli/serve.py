"""`sacpipe serve`: serve a policy by the Open Inference Protocol v2, or by the registry's own server."""

import argparse
import os
import sys
from typing import NoReturn

from sacpipe.core.logging import report_line
from sacpipe.project.workspace import Workspace
from sacpipe.server.arguments import add_server_arguments

HELP = "serve a policy over HTTP, by default the champion on loopback"
EXAMPLE = (
    "  sacpipe serve\n"
    "  sacpipe serve out/export/bundle --port 5001\n"
    "  sacpipe serve models:/NAME@champion --host 0.0.0.0 --token-file token.txt\n"
    "  sacpipe serve --follow\n"
    "  sacpipe serve --mlflow"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "policy",
        nargs="?",
        help="a bundle's folder or tar file, models:/NAME@ALIAS or models:/NAME/VERSION; default: the "
        "workspace's champion",
    )
    add_server_arguments(parser, "default: .sacpipe/robot of the workspace")
    parser.add_argument(
        "--mlflow",
        action="store_true",
        help="use MLflow's own scoring server; of the options above it takes only --port",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    if (state := Workspace.local_files()) is not None:
        sys.path.insert(0, str(state.parent))  # a tracker of the project is found, as by `sacpipe run`
    if arguments.mlflow:
        _become_registry_server(arguments.policy or _champion(is_followed=False), str(arguments.port))
    from sacpipe.server.server import serve_source
    from sacpipe.tracking.chosen import open_source

    if arguments.follow and arguments.store is None:
        arguments.store = str(Workspace.find().robot_store)
    return serve_source(open_source(arguments.policy or _champion(is_followed=arguments.follow)), arguments)


def _champion(*, is_followed: bool) -> str:
    from sacpipe.core.errors import StoreError
    from sacpipe.release.config import read_model_name
    from sacpipe.rollout.registries import Address
    from sacpipe.tracking.chosen import open_ledger

    workspace = Workspace.with_tools()
    name = read_model_name(workspace.params)
    if not is_followed and open_ledger(workspace).registry.alias(name, "champion") is None:
        raise StoreError(
            f"no version of '{name}' is champion yet. `sacpipe run` registers a candidate, and "
            '`sacpipe promote --reason "WHY"` makes it champion.'
        )
    return str(Address(name, "champion", is_alias=True))


def _become_registry_server(uri: str, port: str) -> NoReturn:
    from sacpipe.rollout.registries import parse_address
    from sacpipe.tracking.chosen import chosen_tracker

    parse_address(uri, "--mlflow")
    workspace = Workspace.with_tools()
    command = chosen_tracker(workspace).scoring_server(workspace.state, uri, port)
    report_line(f"serving {uri} at http://127.0.0.1:{port}/invocations")
    os.execv(command[0], command)
