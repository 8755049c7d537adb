"""`sacpipe check`: run a robot's load gate over a bundle, on this machine."""

import argparse
from pathlib import Path

from sacpipe.cli.output import write_output

HELP = "run a robot's load gate over a bundle on this machine, and print the result of each rule"
EXAMPLE = "  sacpipe check out/export/bundle\n  sacpipe check release.tar --public-key HEX"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("bundle", type=Path, help="a bundle's folder, or a tar file of one")
    parser.add_argument(
        "--public-key",
        action="append",
        default=[],
        metavar="HEX",
        help="refuse a bundle that no such key signed; repeat the option for several trusted keys",
    )
    parser.add_argument(
        "--ecdsa-public-key",
        type=Path,
        metavar="FILE",
        help="refuse a bundle without a model.sig by this key, an ECDSA public key in PEM",
    )
    parser.add_argument(
        "--terms", type=Path, metavar="FILE", help="acceptance settings of a server, as in docs/serving.md"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the load gate and print its report; exit code 1 where a rule refuses."""
    from sacpipe.bundle.files import MODEL_SIGNATURE_NAME
    from sacpipe.bundle.model_signature import verify_model
    from sacpipe.core.errors import BundleError, ConfigError
    from sacpipe.core.logging import operator
    from sacpipe.project.tracked_output import is_own_output
    from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
    from sacpipe.rollout.follow_settings import FollowSettings
    from sacpipe.rollout.sources import read_source

    gate = FollowSettings.read(arguments.terms).gate
    keys = [*gate.public_keys, *arguments.public_key]
    settings = LoadGateSettings.parse(gate.as_tree() | {"public_keys": keys}, source="command line")
    if not arguments.bundle.exists():
        raise ConfigError(
            f"{arguments.bundle}: expected a bundle's folder or a tar file, found nothing there."
        )
    try:
        # DVC may make the files of the project's own bundle links to its cache, of either kind.
        own = is_own_output(arguments.bundle)
        files = read_source(arguments.bundle, allow_hard_links=True, follow_cache_links=own)
        model_key = arguments.ecdsa_public_key and verify_model(files, arguments.ecdsa_public_key)
        report = run_load_gate(files, settings).report
    except BundleError as exc:
        operator.error(f"{arguments.bundle}: {exc}")
        return 1
    deadline = "" if report.deadline_us is None else f" of {report.deadline_us:.6g} us allowed"
    details = {
        "signature": report.key_id,
        "golden": f"largest difference {report.golden_error:.3g} of an action's range",
        "timing": f"99 of 100 actions within {report.p99_us:.6g} us{deadline}",
    }
    write_output(f"bundle {report.bundle_digest}\n")
    for rule in report.rules:
        line = f"  {rule.rule:<10} {rule.outcome.replace('_', ' '):<12} {details.get(rule.rule) or ''}"
        write_output(line.rstrip() + "\n")
    if MODEL_SIGNATURE_NAME in files:
        outcome = f"passed       {model_key}" if model_key else "not checked"
        write_output(f"  {MODEL_SIGNATURE_NAME:<10} {outcome}\n")
    return 0
