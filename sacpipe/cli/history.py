"""`sacpipe history`: who released what, when and why; and the ways out of a disagreement."""

import argparse
import contextlib
import json
from typing import TYPE_CHECKING, Any

from sacpipe.cli.output import write_output
from sacpipe.core.logging import operator

if TYPE_CHECKING:
    from sacpipe.release.record import Record

HELP = "show the releases of the policy, or repair a disagreement of history and registry"
EXAMPLE = '  sacpipe history\n  sacpipe history --restore --reason "an unknown hand moved it"'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    repairs = parser.add_mutually_exclusive_group()
    repairs.add_argument("--adopt", action="store_true", help="accept an alias that was moved by hand")
    repairs.add_argument(
        "--restore", action="store_true", help="return such an alias to the history's champion"
    )
    repairs.add_argument(
        "--resolve", action="store_true", help="join a forked history, or go on without lost records"
    )
    parser.add_argument("--reason", help="why; needed by the three")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print every record as a JSON list, without its entries of dvc.lock",
    )


def run(arguments: argparse.Namespace) -> int:
    """Repair what is asked for, and print the history; exit code 1 where the registry disagrees."""
    from sacpipe.cli.release_commands import open_releases
    from sacpipe.core.errors import ConfigError, SacpipeError
    from sacpipe.project.workspace import Workspace, release_lock
    from sacpipe.release.history_text import history_text

    workspace = Workspace.enter()
    repair = next((name for name in ("adopt", "restore", "resolve") if getattr(arguments, name)), None)
    if (repair is None) != (arguments.reason is None):
        raise ConfigError("--reason: expected with --adopt, --restore or --resolve, and only there.")
    with contextlib.nullcontext() if repair is None else release_lock(workspace):
        opened = open_releases(workspace, arguments.reason, heals=repair is not None, settles=False)
        if repair is not None:
            for line in getattr(opened.releases, repair)(arguments.reason):
                operator.info(line)
    history = opened.releases.history()
    code = 0
    try:
        opened.releases.check()
    except SacpipeError as exc:
        operator.error(str(exc))  # above the table, which may be long
        code = exc.exit_code
    if arguments.json:
        write_output(json.dumps([_shown(one) for one in history.records.values()], indent=2) + "\n")
    elif len(history.tips) <= 1:  # a fork has no one champion
        write_output(history_text(history))
    return code


def _shown(record: "Record") -> dict[str, Any]:
    """Return a record without the entries of dvc.lock, some thousand lines, which its file keeps."""
    return {key: value for key, value in record.as_tree().items() if key != "entries"}
