"""`sacpipe lock`: write versions.lock, and the dependency lines of dvc.yaml."""

import argparse

from sacpipe.cli.output import write_output

HELP = "write what results depend on: installed versions, and files that the task reads"
EXAMPLE = "  sacpipe lock\n  dvc status"


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """Add no argument: everything is in the project."""


def run(_arguments: argparse.Namespace) -> int:
    """Print a line for each change."""
    from sacpipe.project.identity.lock import lock_project
    from sacpipe.project.workspace import Workspace

    lines = lock_project(Workspace.enter()) or ["versions.lock and dvc.yaml are up to date"]
    write_output("".join(f"{line}\n" for line in lines))
    return 0
