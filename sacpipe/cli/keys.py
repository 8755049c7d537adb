"""`sacpipe keys`: a key to sign bundles with."""

import argparse
import sys
from pathlib import Path

HELP = "make a key to sign bundles with, and print its public half"
EXAMPLE = "  sacpipe keys release.key\n  sacpipe keys release.key --show"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("file", type=Path, help="where the private key goes; only its owner can read it")
    parser.add_argument("--show", action="store_true", help="make none: print the public half of this one")


def run(arguments: argparse.Namespace) -> int:
    """Make or read the key."""
    from sacpipe.bundle.signature import make_key, read_public_key

    public_key = (read_public_key if arguments.show else make_key)(arguments.file)
    sys.stdout.write(public_key + "\n")
    return 0
