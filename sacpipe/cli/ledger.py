"""`sacpipe ledger`: write the records of runs and versions again from DVC's outputs."""

import argparse
import os

from sacpipe.cli.output import write_output

HELP = "rebuild the records of the present outputs"
EXAMPLE = "  sacpipe ledger rebuild"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "action", choices=["rebuild"], help="record every stage of dvc.lock again where it is missing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Rebuild, and print one line for each record."""
    from sacpipe.project.workspace import Workspace, run_lock
    from sacpipe.tracking.chosen import chosen_tracker, open_ledger
    from sacpipe.tracking.ledger import rebuild

    workspace = Workspace.enter()
    with run_lock(workspace):
        if moved := chosen_tracker(workspace).put_unusable_aside(workspace.state, os.environ):
            write_output(f"{arguments.action}: {moved}\n")
        for line in rebuild(workspace, open_ledger(workspace)):
            write_output(f"{arguments.action}: {line}\n")
    return 0
