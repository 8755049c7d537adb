"""The command-line arguments of the server. Imports no package that is slow to load."""

import argparse


def add_server_arguments(parser: argparse.ArgumentParser, store_default: str) -> None:
    """Add the arguments of the server to a command.

    Args:
        parser: Parser of the command.
        store_default: Text of the help about --store where it is left out.
    """
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind; an address other than loopback needs a token"
    )
    parser.add_argument(
        "--port", type=int, default=5001, help="port to bind; 0 for any free port; default: %(default)s"
    )
    parser.add_argument(
        "--follow",
        action="store_true",
        help="poll the source, and make a new bundle active: load gate, shadow, swap, watch",
    )
    parser.add_argument(
        "--store", metavar="FOLDER", help=f"with --follow: folder of the bundle store; {store_default}"
    )
    parser.add_argument(
        "--terms",
        metavar="FILE",
        help="YAML file with the acceptance settings of bundles; docs/serving.md shows all keys and defaults",
    )
    parser.add_argument(
        "--max-sequences",
        type=int,
        default=64,
        metavar="N",
        help="episodes of remote robots that are open at once; default: %(default)s",
    )
    parser.add_argument("--name", default="policy", help="the model's name in paths; default: %(default)s")
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="file with the token every request must carry; default: the environment variable SACPIPE_TOKEN",
    )
    parser.add_argument(
        "--insecure-no-token",
        action="store_true",
        help="bind any address without a token: every client that reaches it can read metadata and recent "
        "requests, and request actions in the name of any robot",
    )
