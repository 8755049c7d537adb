"""`sacpipe ledger`: write the records of runs and versions again, from DVC's outputs and release/."""

import argparse
import os

from sacpipe.cli.output import write_output

HELP = "rebuild a lost or new ledger: runs, versions under their numbers, aliases"
EXAMPLE = "  sacpipe ledger rebuild"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "action", choices=["rebuild"], help="record what dvc.lock and release/ name, where it is missing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Rebuild, and print one line for each record."""
    from sacpipe.project.workspace import Workspace, release_lock, run_lock
    from sacpipe.release.real_world import ProjectDisk, ProjectGit, open_world
    from sacpipe.release.rebuild import read_histories, rebuild
    from sacpipe.tracking.chosen import chosen_tracker, open_ledger

    workspace = Workspace.enter()
    with run_lock(workspace), release_lock(workspace):
        # A damaged one ends it before the ledger is renamed.
        read_histories(ProjectGit(workspace.root), ProjectDisk(workspace.root))
        if moved := chosen_tracker(workspace).put_unusable_aside(workspace.state, os.environ):
            write_output(f"{arguments.action}: {moved}\n")
        tracker = open_ledger(workspace)
        for line in rebuild(workspace, tracker, open_world(workspace, tracker)):
            write_output(f"{arguments.action}: {line}\n")
    return 0
