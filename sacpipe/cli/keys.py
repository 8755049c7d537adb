"""`sacpipe keys`: make a key for signing bundles."""

import argparse
from pathlib import Path

from sacpipe.cli.output import write_output

HELP = "make a key for signing bundles, and print its public key"
EXAMPLE = "  sacpipe keys release.key\n  sacpipe keys release.key --show"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("file", type=Path, help="file of the private key, readable by its owner alone")
    parser.add_argument("--show", action="store_true", help="make no key: print the public key of this file")


def run(arguments: argparse.Namespace) -> int:
    """Make or read the key, and print its public key."""
    from sacpipe.bundle.signature import make_key, read_public_key

    public_key = (read_public_key if arguments.show else make_key)(arguments.file)
    write_output(public_key + "\n")
    return 0
