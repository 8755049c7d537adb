"""`sacpipe report`: write the report of the present result, from DVC's outputs alone."""

import argparse

from sacpipe.cli.output import write_output
from sacpipe.cli.paths import path_argument

HELP = "write the report of the present outputs: one self-contained HTML file"
EXAMPLE = "  sacpipe report --output report.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--output", type=path_argument, help="default: .sacpipe/report.html")


def run(arguments: argparse.Namespace) -> int:
    """Write the page and print its path."""
    from sacpipe.flow.steps import write_page
    from sacpipe.project.workspace import Workspace

    write_output(f"{write_page(Workspace.enter(), arguments.output)}\n")
    return 0
