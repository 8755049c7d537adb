"""`sacpipe pool`: check a replay pool or a recording, and take recordings into the next training."""

import argparse
import json
import sys
from pathlib import Path

HELP = "check replay pools, and take what a robot recorded into data/pool"
EXAMPLE = (
    "  sacpipe pool check out/train/pool\n"
    "  sacpipe pool ingest recordings/recording-000001\n"
    "  sacpipe pool ingest recordings/* --share 0.5"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = commands.add_parser("check", help="read every byte of a pool or a recording")
    check.add_argument("folder", type=Path, nargs="?", help="default: the pool of the finished training")
    check.add_argument("--json", action="store_true", help="print one JSON object")
    ingest = commands.add_parser("ingest", help="add recordings to data/pool, tracked by DVC")
    ingest.add_argument("recordings", type=Path, nargs="+", metavar="RECORDING", help="a recording's folder")
    ingest.add_argument(
        "--share",
        type=float,
        help="train on it: name the pool in params.yaml, as this share of every batch",
    )
    ingest.add_argument(
        "--any-policy", action="store_true", help="take recordings of policies unknown here too"
    )
    ingest.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Check or ingest."""
    if arguments.action == "check":
        return _check(arguments.folder, as_json=arguments.json)
    return _ingest(arguments)


def _check(folder: Path | None, *, as_json: bool) -> int:
    from sacpipe.project.workspace import Workspace
    from sacpipe.replay.pool.reader import ReplayPool
    from sacpipe.robot.recording.format import HEADER_NAME, Recording

    folder = folder or Workspace.enter().pool
    is_recording = (folder / HEADER_NAME).exists()
    report = Recording.open(folder).check() if is_recording else ReplayPool.open(folder).check()
    if as_json:
        sys.stdout.write(json.dumps(report.as_tree()) + "\n")
        return 0
    sys.stdout.write(
        f"{folder}: whole. {report.transitions} transitions of {report.episodes} episodes in "
        f"{report.segments} segments, {report.terminations} terminations, {report.truncations} truncations, "
        f"{report.size_bytes / 1e6:.1f} MB\n"
    )
    return 0


def _ingest(arguments: argparse.Namespace) -> int:
    from sacpipe.core.errors import ConfigError
    from sacpipe.core.files import write_text
    from sacpipe.params.model import Params
    from sacpipe.project.ingest import ingest
    from sacpipe.project.initial_pool import with_initial_pool
    from sacpipe.project.workspace import Workspace, run_lock
    from sacpipe.tracking.ledger import known_bundles

    share = arguments.share
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"--share: expected more than 0 and at most 1, found {share}.")
    workspace = Workspace.enter()
    with run_lock(workspace):
        if share is not None:
            with_initial_pool(workspace, "0" * 64, share)  # refused before anything is changed
        name = Params.load(workspace.params).release.model_name
        known = None if arguments.any_policy else known_bundles(workspace, name)
        done = ingest(workspace, arguments.recordings, known_bundles=known)
        if share is not None:
            write_text(workspace.params, with_initial_pool(workspace, done.pool_sha256, share))
    if arguments.json:
        sys.stdout.write(json.dumps(done.as_tree()) + "\n")
        return 0
    added = sum(entry.transitions for entry in done.recordings)
    line = f'initial_pool: {{sha256: "{done.pool_sha256}", share: {share or 0.5}}}'
    sys.stdout.write(
        f"data/pool: {added} transitions of {len(done.recordings)} recordings added, {done.passed_over} "
        f"recordings passed over as known, {done.pool_transitions} transitions in all. `git add data` keeps "
        "its digest.\n"
    )
    if share is None:
        sys.stdout.write(f"To train on it, set in params.yaml, under replay: {line}\n")
    else:
        sys.stdout.write(f"params.yaml names it now, under replay: {line}\n")
    return 0
