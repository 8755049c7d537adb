"""`sacpipe`: the parser, and the only place that turns an error into a message and an exit code.

Exit codes: 0 done, 1 refused or different (a release, a lineage, a verification), 2 bad input, 3 another
program or service failed, the command was interrupted, or an error was not foreseen. Command modules import
heavy packages only when they run, so that `sacpipe --help` is fast.
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence

from sacpipe.cli import (
    check,
    check_env,
    doctor,
    drive,
    gate,
    gc,
    history,
    keys,
    ledger,
    lineage,
    lock,
    params,
    pool,
    promote,
    report,
    rollback,
    run,
    serve,
    sign,
    simulate,
    tasks,
    verify,
)
from sacpipe.cli.output import own_stdout
from sacpipe.cli.parser import SHELLS, Parser, PrintCompletion
from sacpipe.core.closed_streams import open_closed_streams
from sacpipe.core.crash_log import EXIT_CODE, report_crash
from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.core.fence import first_error
from sacpipe.core.logging import log_to_stderr, operator
from sacpipe.project.terminal import termination_as_interrupt
from sacpipe.project.workspace import Workspace
from sacpipe.version import __version__

COMMANDS = {
    module.__name__.rpartition(".")[2].replace("_", "-"): module
    for module in (
        *(run, promote, rollback, history, gate, tasks, params, lock, simulate, drive, lineage, verify),
        *(pool, ledger, report, serve, keys, sign, check, check_env, doctor, gc),
    )
}
"""The module of each command, in the order of the help."""

_ON_A_ROBOT = ("serve", "keys", "sign", "check")
"""Commands that load no task: they stay in the user's folder and import nothing from a project."""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of every command."""
    parser = Parser(
        prog="sacpipe",
        description="From a simulated task to a policy on a robot, with the proof of its origin.",
        epilog="Exit codes: 0 done, 1 refused or different, 2 bad input, 3 another program failed.",
    )
    parser.add_argument("--version", action="version", version=f"sacpipe {__version__}")
    parser.add_argument(
        "--print-completion", action=PrintCompletion, choices=SHELLS, help="print the completions for a shell"
    )
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


def _enter_project(command: str) -> None:
    """Enter the project around the current folder, if there is one, for a command that may load its task."""
    if command not in _ON_A_ROBOT:
        with contextlib.suppress(ConfigError, OSError):  # outside every project, or in a deleted folder
            Workspace.enter()


def _stoppable(command: str) -> contextlib.AbstractContextManager[None]:
    """Return the context in which SIGTERM ends a command's child processes with it; a server has its own."""
    return contextlib.nullcontext() if command in _ON_A_ROBOT else termination_as_interrupt()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    open_closed_streams()
    namespace = build_parser().parse_args(arguments)
    log_to_stderr()
    codes: list[int] = []
    try:
        with _stoppable(namespace.command), own_stdout(until_exit=arguments is None):
            error = first_error(lambda: codes.append(_run(namespace)))
    except KeyboardInterrupt:
        operator.error("interrupted. Finished steps are kept.")
        return 3
    return codes[0] if error is None else _report(namespace.command, error)


def _report(command: str, error: Exception) -> int:
    """Write the one message of an error that ended a command, and return the exit code."""
    if isinstance(error, BrokenPipeError):  # the reader of the output has gone
        return 0
    message, exit_code = _explain(command, error)
    operator.error(message)
    return exit_code


def _explain(command: str, error: Exception) -> tuple[str, int]:
    if isinstance(error, SacpipeError):
        return str(error), error.exit_code
    package = error.name or "sacpipe" if isinstance(error, ModuleNotFoundError) else "sacpipe"
    if not package.startswith(("sacpipe", "pipelines")):
        return (
            f"`sacpipe {command}` needs the package '{package}', which is not installed. "
            "`pip install sacpipe[train,pipeline]` installs it; a robot does not need it."
        ), 2
    return report_crash(f"`sacpipe {command}`", error, Workspace.local_files()), EXIT_CODE


_WITHOUT_VERSIONS = ("lock", "doctor")
"""Commands that work where other versions are installed than those of the project's results."""


def _run(namespace: argparse.Namespace) -> int:
    _enter_project(namespace.command)
    if namespace.command not in _WITHOUT_VERSIONS:
        _check_versions(namespace.command)
    return int(COMMANDS[namespace.command].run(namespace))


def _check_versions(command: str) -> None:
    """Refuse to work in a project whose results belong to other versions than the installed ones."""
    from sacpipe.project.identity.versions import FILE_NAME, check_versions

    try:
        workspace = Workspace.find()
    except ConfigError:
        return  # not in a project, such as on a robot
    if command not in _ON_A_ROBOT or (workspace.root / FILE_NAME).is_file():
        check_versions(workspace.root)


if __name__ == "__main__":
    sys.exit(main())
