"""`sacpipe sign`: sign a bundle."""

import argparse
from pathlib import Path

from sacpipe.cli.output import write_output

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
    from sacpipe.core.errors import ConfigError
    from sacpipe.project.tracked_output import find_tracked_output

    if (output := find_tracked_output(arguments.bundle)) is not None:
        raise ConfigError(
            f"{arguments.bundle}: expected a copy of the bundle, found {output}, which DVC tracks: a "
            "signature would change it. Copy it with `cp -rL` to a folder that DVC does not track, and sign "
            "the copy."
        )
    key_id = sign_bundle(arguments.bundle, arguments.key)
    write_output(f"bundle {bundle_digest(arguments.bundle)}, signed by {key_id}\n")
    return 0
