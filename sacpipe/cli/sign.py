"""`sacpipe sign`: vouch for a bundle."""

import argparse
import sys
from pathlib import Path

HELP = "sign a bundle, so that a robot can tell who vouches for it; sign a copy of what DVC tracks"
EXAMPLE = "  cp -r out/export/bundle release\n  sacpipe sign release --key release.key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder; a signature it has is replaced")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="what `sacpipe keys` made")


def run(arguments: argparse.Namespace) -> int:
    """Sign, and say what was signed by which key."""
    from sacpipe.bundle.files import bundle_digest
    from sacpipe.bundle.signature import sign_bundle

    key_id = sign_bundle(arguments.bundle, arguments.key)
    sys.stdout.write(f"bundle {bundle_digest(arguments.bundle)}, signed by {key_id}\n")
    return 0
