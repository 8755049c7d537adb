"""`python -m sacpipe.server SOURCE`: the server on a robot, from the base install with [serve] alone."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sacpipe.core.closed_streams import open_closed_streams
from sacpipe.core.errors import SacpipeError
from sacpipe.core.logging import log_to_stderr, operator
from sacpipe.rollout.registries import SCHEME, choose_registry, parse_address
from sacpipe.rollout.sources import PathSource, Source
from sacpipe.server.arguments import add_server_arguments
from sacpipe.server.server import serve_source


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the bundle of a source and return the exit code."""
    open_closed_streams()
    log_to_stderr()
    parser = argparse.ArgumentParser(
        prog="python -m sacpipe.server", description="Serve a bundle by the Open Inference Protocol v2."
    )
    parser.add_argument(
        "source",
        help="a bundle's folder or tar file; or models:/NAME@ALIAS or models:/NAME/VERSION of the MLflow "
        "server at MLFLOW_TRACKING_URI, or of the registry that SACPIPE_TRACKING names",
    )
    add_server_arguments(parser, "required with --follow")
    namespace = parser.parse_args(arguments)
    try:
        return serve_source(_open(namespace.source), namespace)
    except SacpipeError as exc:
        operator.error(exc)
        return exc.exit_code


def _open(text: str) -> Source:
    if not text.startswith(SCHEME):
        return PathSource(Path(text), allow_hard_links=False)
    return choose_registry(None).source(parse_address(text), None, os.environ)


if __name__ == "__main__":
    sys.exit(main())
