"""`sacpipe history`: who released what, when and why; and the ways out of a disagreement."""

import argparse
import json

from sacpipe.cli.output import write_output
from sacpipe.core.logging import operator

HELP = "show the releases of the policy, or mend a disagreement of history and registry"
EXAMPLE = '  sacpipe history\n  sacpipe history --restore --reason "nobody knows who moved it"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    mendings = parser.add_mutually_exclusive_group()
    mendings.add_argument("--adopt", action="store_true", help="accept an alias that was moved by hand")
    mendings.add_argument(
        "--restore", action="store_true", help="return such an alias to the history's champion"
    )
    mendings.add_argument(
        "--resolve", action="store_true", help="join a forked history, or go on without lost records"
    )
    parser.add_argument("--reason", help="why; needed by the three")
    parser.add_argument("--json", action="store_true", help="print every record as a JSON list")


def run(arguments: argparse.Namespace) -> int:
    """Mend what is asked for, print the history, and say whether the registry agrees; if not, exit code 1."""
    from sacpipe.cli.release_commands import open_releases
    from sacpipe.core.errors import ConfigError
    from sacpipe.project.workspace import Workspace, run_lock
    from sacpipe.release.history_text import history_text

    workspace = Workspace.enter()
    mending = next(
        (mending for mending in ("adopt", "restore", "resolve") if getattr(arguments, mending)), None
    )
    if (mending is None) != (arguments.reason is None):
        raise ConfigError("--reason: expected with --adopt, --restore or --resolve, and only there.")
    with run_lock(workspace):
        opened = open_releases(workspace, arguments.reason, settles=False)
        if mending is not None:
            for line in getattr(opened.releases, mending)(arguments.reason):
                operator.info(line)
    history = opened.releases.history()
    if arguments.json:
        write_output(json.dumps([one.as_tree() for one in history.records.values()], indent=2) + "\n")
    else:
        write_output(history_text(history))
    opened.releases.check()
    return 0
