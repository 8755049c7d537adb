"""`sacpipe params`: a complete params.yaml for one task."""

import argparse
import sys
from pathlib import Path

from sacpipe.cli.output import write_output
from sacpipe.cli.paths import path_argument
from sacpipe.params import DEFAULT_ALGORITHM, DEFAULT_SEED

HELP = "print a complete, commented params.yaml for a task"
EXAMPLE = (
    "  sacpipe params gymnasium/HalfCheetah-v5 --algorithm td3\n"
    "  sacpipe params dm_control/cartpole-swingup --steps 20000 --output params.yaml\n"
    "  sacpipe params gymnasium/Hopper-v5 --set replay.sampler.name=n_step --set seed=2"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("task", help="SUITE/ID, see `sacpipe tasks`")
    parser.add_argument("--steps", type=int, help="environment steps, instead of the task's usual budget")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="default: %(default)s")
    parser.add_argument(
        "--algorithm",
        default=DEFAULT_ALGORITHM,
        help="sac, td3, sql, lsp, composition, tqc, a name of an installed package, or module:attribute; "
        "default: %(default)s",
    )
    parser.add_argument(
        "--preset",
        help="one of the algorithm's variants; of sac: paper, or softlearning, where the actor's loss has "
        "the critics' mean as in Softlearning's last version; default: the first",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="assignments",
        help="a value of params.yaml, as training.keep=best; sections that are given in part are completed. "
        "May be given several times",
    )
    parser.add_argument("--output", type=path_argument, help="write this file instead of printing")


def run(arguments: argparse.Namespace) -> int:
    """Print or write the file."""
    from sacpipe.core.files import write_text
    from sacpipe.params.defaults import params_text
    from sacpipe.project.identity.opened_files import record_opened_files

    if arguments.output is not None:
        record_opened_files(Path.cwd())  # before the task's modules are imported, since these may read files
    text = params_text(
        arguments.task,
        steps=arguments.steps,
        seed=arguments.seed,
        algorithm=arguments.algorithm,
        preset=arguments.preset,
        assignments=arguments.assignments,
    )
    if arguments.output is None:
        write_output(text)
    else:
        write_text(arguments.output, text)
        _write_dependencies(arguments.output)
    return 0


def _write_dependencies(path: Path) -> None:
    """Write what the new task needs to dvc.yaml, if the file is the params.yaml of a project."""
    from sacpipe.core.errors import ConfigError
    from sacpipe.project.identity.lock import write_dependencies
    from sacpipe.project.workspace import Workspace

    try:
        workspace = Workspace.find(path.parent)
    except ConfigError:
        return
    if path.resolve() == workspace.params:
        for line in write_dependencies(workspace):
            sys.stderr.write(f"{line}\n")
