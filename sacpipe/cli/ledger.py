"""`sacpipe ledger`: write the MLflow records again from DVC's outputs."""

import argparse

from sacpipe.cli.output import write_output

HELP = "rebuild the MLflow records of the present outputs"
EXAMPLE = "  sacpipe ledger rebuild"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "action", choices=["rebuild"], help="record every stage of dvc.lock again where it is missing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Rebuild, and print one line for each record."""
    from sacpipe.project.workspace import Workspace, run_lock
    from sacpipe.tracking.ledger import open_ledger, rebuild
    from sacpipe.tracking.ledger_repair import put_unusable_ledger_aside

    workspace = Workspace.enter()
    with run_lock(workspace):
        if moved := put_unusable_ledger_aside(workspace):
            write_output(f"{arguments.action}: {moved}\n")
        for line in rebuild(workspace, open_ledger(workspace)):
            write_output(f"{arguments.action}: {line}\n")
    return 0
