"""`sacpipe tasks`: list the tasks that can be trained."""

import argparse
import json

from sacpipe.cli.output import write_output

HELP = "list every task that can be trained"
EXAMPLE = "  sacpipe tasks cheetah\n  sacpipe tasks --suite dm_control --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "contains", nargs="?", default="", help="only names that contain this text, in upper or lower case"
    )
    parser.add_argument("--suite", help="only this task suite")
    parser.add_argument("--json", action="store_true", help="print a JSON list of names")


def run(arguments: argparse.Namespace) -> int:
    """Print one task a line; exit code 1 where none matches."""
    from sacpipe.core.errors import ConfigError
    from sacpipe.envs import SUITES

    suites = SUITES.names()
    if arguments.suite is not None and arguments.suite not in suites:
        raise ConfigError(f"--suite: expected one of {', '.join(suites)}, found '{arguments.suite}'.")
    names = [
        f"{name}/{task}"
        for name in suites
        if arguments.suite in (None, name)
        for task in SUITES.find(name).tasks()
        if arguments.contains.lower() in f"{name}/{task}".lower()
    ]
    write_output(json.dumps(names) + "\n" if arguments.json else "".join(f"{name}\n" for name in names))
    return 0 if names else 1
