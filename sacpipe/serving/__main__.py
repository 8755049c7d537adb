"""`python -m sacpipe.serving BUNDLE`: the server on a robot, from the base install with [serve] alone."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from sacpipe.core.errors import SacpipeError
from sacpipe.serving.arguments import add_server_arguments
from sacpipe.serving.policy import OnnxPolicy
from sacpipe.serving.server import serve_arguments


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a bundle and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sacpipe.serving", description="Serve a bundle by the Open Inference Protocol v2."
    )
    parser.add_argument("bundle", type=Path, help="a bundle's folder")
    add_server_arguments(parser)
    namespace = parser.parse_args(arguments)
    try:
        return serve_arguments(OnnxPolicy(namespace.bundle), namespace)
    except SacpipeError as exc:
        sys.stderr.write(f"sacpipe: {exc}\n")
        return exc.exit_code


if __name__ == "__main__":
    sys.exit(main())
