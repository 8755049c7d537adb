"""`sacpipe sign`: sign a bundle."""

import argparse
from pathlib import Path

from sacpipe.cli.output import write_output

HELP = "sign a bundle, so that a robot can verify its signer; sign a copy, not the bundle that DVC tracks"
EXAMPLE = (
    "  cp -r out/export/bundle release\n  sacpipe sign release --key release.key\n"
    "  sacpipe sign release --ecdsa-key ecdsa.pem"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder; an existing signature is replaced")
    parser.add_argument(
        "--key",
        type=Path,
        metavar="FILE",
        help="private key from `sacpipe keys`: write manifest.sig, for robots",
    )
    parser.add_argument(
        "--ecdsa-key",
        type=Path,
        metavar="FILE",
        help="ECDSA private key in PEM: write model.sig, which verifiers of OpenSSF Model Signing read",
    )


def run(arguments: argparse.Namespace) -> int:
    """Sign, and print the bundle's digest and the id of each key."""
    from sacpipe.bundle.files import bundle_digest
    from sacpipe.bundle.model_signature import sign_model
    from sacpipe.bundle.signature import sign_bundle
    from sacpipe.core.errors import ConfigError
    from sacpipe.project.tracked_output import find_tracked_output

    if arguments.key is None and arguments.ecdsa_key is None:
        raise ConfigError("--key, --ecdsa-key: expected one of them or both, found none.")
    if (output := find_tracked_output(arguments.bundle)) is not None:
        raise ConfigError(
            f"{arguments.bundle}: expected a copy of the bundle, found {output}, which DVC tracks: a "
            "signature would change it. Copy it with `cp -rL` to a folder that DVC does not track, and sign "
            "the copy."
        )
    for key, sign in ((arguments.key, sign_bundle), (arguments.ecdsa_key, sign_model)):
        if key is not None:
            key_id = sign(arguments.bundle, key)
            write_output(f"bundle {bundle_digest(arguments.bundle)}, signed by {key_id}\n")
    return 0
