"""`sacpipe pool`: check a replay pool, add recordings to the initial pool, and remove its oldest segments."""

import argparse
import json
from typing import TYPE_CHECKING

from sacpipe.cli.output import write_output
from sacpipe.cli.paths import path_argument
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text
from sacpipe.project.workspace import Workspace, run_lock

if TYPE_CHECKING:
    from sacpipe.core.config import Config

HELP = "check replay pools, add a robot's recordings to data/pool, and evict its oldest segments"
EXAMPLE = (
    "  sacpipe pool check out/train/pool\n"
    "  sacpipe pool ingest recordings/recording-000001\n"
    "  sacpipe pool ingest recordings/* --share 0.5\n"
    "  sacpipe pool evict --keep-transitions 1000000"
)

_SHARE = 0.5
"""Share of every batch in the line that the operator may copy."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    commands = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = commands.add_parser("check", help="read every byte of a pool or a recording")
    check.add_argument(
        "folder", type=path_argument, nargs="?", help="default: the pool of the finished training"
    )
    check.add_argument("--json", action="store_true", help="print one JSON object")
    ingest = commands.add_parser("ingest", help="add recordings to data/pool, tracked by DVC")
    ingest.add_argument(
        "recordings", type=path_argument, nargs="+", metavar="RECORDING", help="a recording's folder"
    )
    ingest.add_argument(
        "--share",
        type=float,
        help="name the pool in params.yaml, for this share of every batch",
    )
    ingest.add_argument("--any-policy", action="store_true", help="accept recordings of unknown policies too")
    ingest.add_argument("--json", action="store_true", help="print one JSON object")
    evict = commands.add_parser(
        "evict",
        help="delete the oldest segments of a pool",
        description="delete the oldest whole segments of a pool while at least N transitions remain",
        epilog="example:\n  sacpipe pool evict --keep-transitions 1000000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    evict.add_argument(
        "--keep-transitions", type=int, required=True, metavar="N", help="transitions to keep, at least 1"
    )
    evict.add_argument(
        "folder", type=path_argument, nargs="?", help="default: data/pool, which DVC tracks again"
    )
    evict.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Run the action, and print its report; exit code 0."""
    report, text = {"check": _check, "ingest": _ingest, "evict": _evict}[arguments.action](arguments)
    write_output(json.dumps(report.as_tree()) + "\n" if arguments.json else text)
    return 0


def _check(arguments: argparse.Namespace) -> "tuple[Config, str]":
    from sacpipe.replay.pool.reader import ReplayPool
    from sacpipe.robot.recording.format import HEADER_NAME, Recording

    folder = arguments.folder or Workspace.enter().pool
    is_recording = (folder / HEADER_NAME).exists()
    report = Recording.open(folder).check() if is_recording else ReplayPool.open(folder).check()
    return report, (
        f"{folder}: no damage found. {report.transitions} transitions of {report.episodes} episodes in "
        f"{report.segments} segments, {report.terminations} terminations, {report.truncations} truncations, "
        f"{report.size_bytes / 1e6:.1f} MB\n"
    )


def _ingest(arguments: argparse.Namespace) -> "tuple[Config, str]":
    from sacpipe.params.model import Params
    from sacpipe.project.ingest import ingest
    from sacpipe.project.initial_pool import initial_pool_line, with_initial_pool
    from sacpipe.tracking.ledger import known_bundles

    share = arguments.share
    if share is not None and not 0 < share <= 1:
        raise ConfigError(f"--share: expected more than 0 and at most 1, found {share}.")
    workspace = Workspace.enter()
    with run_lock(workspace):
        if share is not None:
            with_initial_pool(workspace, "0" * 64, share)  # refuses before any file is changed
        name = Params.load(workspace.params).release.model_name
        known = None if arguments.any_policy else known_bundles(workspace, name)
        done = ingest(workspace, arguments.recordings, known_bundles=known)
        if share is not None:
            write_text(workspace.params, with_initial_pool(workspace, done.pool_sha256, share))
    added = sum(entry.transitions for entry in done.recordings)
    line = initial_pool_line(done.pool_sha256, share or _SHARE)
    text = (
        f"data/pool: {added} transitions of {len(done.recordings)} recordings added, {done.passed_over} "
        f"known recordings skipped, {done.pool_transitions} transitions in all.\n"
        "Commit its digest with `git add data && git commit`.\n"
    )
    if share is None:
        advice = f"{_training_advice(line)}Or repeat this command with --share {_SHARE:g}, which writes it.\n"
    else:
        advice = f"params.yaml names it now, under replay:\n  {line}\n`sacpipe run` trains on it.\n"
    return done, text + advice


def _evict(arguments: argparse.Namespace) -> "tuple[Config, str]":
    from sacpipe.params.model import Params
    from sacpipe.project.evict import evict
    from sacpipe.project.initial_pool import INITIAL_POOL, initial_pool_line

    workspace = Workspace.enter()
    folder = arguments.folder or workspace.initial_pool
    with run_lock(workspace):
        initial = Params.load(workspace.params).replay.initial_pool
        done = evict(workspace, folder, keep_transitions=arguments.keep_transitions)
    shown = arguments.folder or INITIAL_POOL
    held = f"{done.pool_transitions} transitions in {done.pool_segments} segments"
    if done.evicted_segments:
        evicted = f"{done.evicted_transitions} transitions in {done.evicted_segments} segments"
        line = f"{evicted} evicted, {held} kept."
    else:
        line = f"nothing evicted. {held}, and {arguments.keep_transitions} transitions must remain."
    text = f"{shown}: {line}\n"
    if folder.resolve() == workspace.initial_pool.resolve():
        line = initial_pool_line(done.pool_sha256, _SHARE if initial is None else initial.share)
        text += f"Commit its digest with `git add data && git commit`.\n{_training_advice(line)}"
    return done, text


def _training_advice(line: str) -> str:
    return (
        "Training does not use it yet: to train on it, replace the line `initial_pool` under `replay` in "
        f"params.yaml by\n  {line}\n"
    )
