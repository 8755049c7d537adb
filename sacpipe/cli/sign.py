"""`sacpipe sign`: sign a bundle."""

import argparse
import sys
from pathlib import Path

HELP = "sign a bundle, so that a robot can verify its signer; sign a copy, not the bundle that DVC tracks"
EXAMPLE = "  cp -r out/export/bundle release\n  sacpipe sign release --key release.key"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder; an existing signature is replaced")
    parser.add_argument(
        "--key", type=Path, required=True, metavar="FILE", help="private key from `sacpipe keys`"
    )


def run(arguments: argparse.Namespace) -> int:
    """Sign, and print the bundle's digest and the key's id."""
    from sacpipe.bundle.files import bundle_digest
    from sacpipe.bundle.signature import sign_bundle

    key_id = sign_bundle(arguments.bundle, arguments.key)
    sys.stdout.write(f"bundle {bundle_digest(arguments.bundle)}, signed by {key_id}\n")
    return 0
