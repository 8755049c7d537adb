"""The command-line arguments of the server; imports nothing that takes time."""

import argparse


def add_server_arguments(parser: argparse.ArgumentParser, store_default: str) -> None:
    """Add where, as what and on which terms the server serves.

    Args:
        parser: Of the command.
        store_default: What --store is where it is not given, in words.
    """
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to bind; another than loopback needs a token"
    )
    parser.add_argument("--port", type=int, default=5001, help="0 for any that is free; default: %(default)s")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="look what the source names now and then, and bring it into service: gate, shadow, swap, watch",
    )
    parser.add_argument(
        "--store", metavar="FOLDER", help=f"with --follow: where bundles are kept; {store_default}"
    )
    parser.add_argument(
        "--terms",
        metavar="FILE",
        help="YAML of what is asked of a bundle, as docs/serving.md shows; default: what stands there",
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
        help="bind any address without a token: whoever reaches it can read what the policy is and sees, and "
        "ask for actions in the name of any robot",
    )
