"""`sacpipe`: the parser, and the only place that turns an error into a message and an exit code.

Exit codes: 0 done, 1 refused or different (a release, a lineage, a verification), 2 bad input, 3 another
program or service failed, or the command was interrupted. Command modules import heavy packages only when
they run, so that `sacpipe --help` is fast.
"""

import argparse
import logging
import sys
from collections.abc import Sequence

from sacpipe.cli import (
    check,
    doctor,
    drive,
    keys,
    ledger,
    lineage,
    params,
    pool,
    report,
    run,
    serve,
    sign,
    simulate,
    tasks,
    verify,
)
from sacpipe.cli.output import own_stdout
from sacpipe.core.errors import SacpipeError
from sacpipe.core.report_line import LAYOUT, escape_unprintable
from sacpipe.version import __version__

COMMANDS = {
    "run": run,
    "tasks": tasks,
    "params": params,
    "simulate": simulate,
    "drive": drive,
    "lineage": lineage,
    "verify": verify,
    "pool": pool,
    "ledger": ledger,
    "report": report,
    "serve": serve,
    "keys": keys,
    "sign": sign,
    "check": check,
    "doctor": doctor,
}


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = argparse.ArgumentParser(
        prog="sacpipe",
        description="From a simulated task to a policy on a robot, with the proof of its origin.",
        epilog="Exit codes: 0 done, 1 refused or different, 2 bad input, 3 another program failed.",
    )
    parser.add_argument("--version", action="version", version=f"sacpipe {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=f"example:\n{module.EXAMPLE}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    namespace = build_parser().parse_args(arguments)
    if (
        logging.lastResort is not None
    ):  # this project's warnings go to stderr even where a library reconfigures logging
        for name in ("pipelines", "sacpipe"):
            logging.getLogger(name).addHandler(logging.lastResort)
    try:
        with own_stdout(until_exit=arguments is None):
            return int(COMMANDS[namespace.command].run(namespace))
    except SacpipeError as exc:
        sys.stderr.write(f"sacpipe: {escape_unprintable(str(exc), kept=LAYOUT)}\n")
        return exc.exit_code
    except ModuleNotFoundError as exc:
        if (exc.name or "sacpipe").startswith(("sacpipe", "pipelines")):
            raise
        sys.stderr.write(
            f"sacpipe: `sacpipe {namespace.command}` needs the package '{exc.name}', which is not "
            "installed. `pip install sacpipe[train,pipeline]` installs it; a robot does not need it.\n"
        )
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("sacpipe: interrupted. Finished steps are kept.\n")
        return 3
    except BrokenPipeError:
        return 0


if __name__ == "__main__":
    sys.exit(main())
