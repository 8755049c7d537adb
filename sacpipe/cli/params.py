"""`sacpipe params`: a complete params.yaml for one task."""

import argparse
from pathlib import Path

from sacpipe.cli.output import write_output
from sacpipe.cli.paths import path_argument
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text
from sacpipe.params import DEFAULT_ALGORITHM, DEFAULT_SEED
from sacpipe.project.workspace import Workspace

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
    workspace = None if arguments.output is None else _project_of(arguments.output)
    if workspace is not None:
        from sacpipe.core.logging import operator
        from sacpipe.project.identity.lock import lock_project
        from sacpipe.project.identity.opened_files import files_recorded

        with files_recorded(workspace.root):  # own modules may read files when they are imported
            text = _text(arguments)
        write_text(arguments.output, text)
        for line in lock_project(workspace, keeps_versions=True):
            operator.info(line)
    elif arguments.output is not None:
        write_text(arguments.output, _text(arguments))
    else:
        write_output(_text(arguments))
    return 0


def _text(arguments: argparse.Namespace) -> str:
    from sacpipe.params.defaults import params_text

    names = ("steps", "seed", "algorithm", "preset", "assignments")
    return params_text(arguments.task, **{name: getattr(arguments, name) for name in names})


def _project_of(path: Path) -> Workspace | None:
    """Return the project whose params.yaml a file is, if it is one's."""
    try:
        workspace = Workspace.find(path.parent)
    except ConfigError:
        return None
    return workspace if path.resolve() == workspace.params else None
