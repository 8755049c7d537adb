"""`sacpipe rollback`: return to a former champion, and bar the present one."""

import argparse

from sacpipe.core.logging import operator

HELP = "return to a former champion, and bar the present one"
EXAMPLE = '  sacpipe rollback --reason "it trembles"\n  sacpipe rollback --to 2 --reason "3 and 4 tremble"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "--to",
        metavar="VERSION",
        help="number of a former champion, or `none` for no champion; default: the champion before",
    )
    parser.add_argument("--reason", required=True, help="why, for the history and for who wants it back")


def run(arguments: argparse.Namespace) -> int:
    """Settle, and move the alias back."""
    from sacpipe.cli.release_commands import open_releases
    from sacpipe.project.workspace import Workspace, release_lock
    from sacpipe.release.log import release_of

    workspace = Workspace.enter()
    with release_lock(workspace):
        opened = open_releases(workspace, arguments.reason)
        if arguments.to == "none":
            lines = opened.releases.withdraw(reason=arguments.reason)
        else:
            to = None if arguments.to is None else release_of(opened.version(arguments.to))
            lines = opened.releases.rollback(to, reason=arguments.reason)
        for line in lines:
            operator.info(line)
    return 0
