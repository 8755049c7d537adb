"""`sacpipe check-env`: test a task against the contract of an environment, and explain each fault."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from sacpipe.cli.output import write_output
from sacpipe.core.errors import ConfigError
from sacpipe.project.workspace import Workspace
from sacpipe.testing import MIN_SEEDS

if TYPE_CHECKING:
    from sacpipe.envs.base import TaskSection

HELP = "test a task of your own against the contract of an environment"
EXAMPLE = "  sacpipe check-env gymnasium/my_package:Arm-v0\n  sacpipe check-env  # the task of params.yaml"

_SHOWN = ("rule", "is_checked", "fault", "reason")
"""Attributes of a result in the JSON list."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument(
        "task",
        nargs="?",
        help="SUITE/[MODULE:]ID, without options; the task of params.yaml by default",
    )
    parser.add_argument("--episodes", type=int, default=MIN_SEEDS, help="seeds to try; default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print a JSON list of rules")


def run(arguments: argparse.Namespace) -> int:
    """Print each rule; exit code 1 where one is broken."""
    from sacpipe.project.identity.opened_files import files_recorded

    if arguments.episodes < MIN_SEEDS:
        raise ConfigError(f"--episodes: expected at least {MIN_SEEDS}, found {arguments.episodes}.")
    with files_recorded(Path.cwd()):  # the task's modules may read files when they are imported
        return _check(arguments)


def _check(arguments: argparse.Namespace) -> int:
    """Try the task, and print each rule and what the task reads."""
    from sacpipe.testing.environments import env_results

    task = _task(arguments.task)
    results = []
    for result in env_results(task, arguments.episodes):
        results.append(result)
        if arguments.json:
            continue
        mark = "FAIL" if result.fault else "ok  " if result.is_checked else "-   "
        text = result.fault or ("" if result.is_checked else "not checked: a rule above is broken")
        write_output(f"{mark}  {result.rule:<16} {text}".rstrip() + "\n")
        if result.fault:
            write_output(f"      {'':<16} {result.reason}\n")
    if arguments.json:
        rules = [{name: getattr(result, name) for name in _SHOWN} for result in results]
        write_output(json.dumps(rules, indent=2) + "\n")
    elif results[0].fault is None:
        _print_reads(task)
    return int(any(result.fault for result in results))


def _print_reads(task: "TaskSection") -> None:
    """Print what the task reads, and what of it dvc.yaml does not name yet."""
    from sacpipe.project.identity.dependency_lines import listed_needs, missing_lines
    from sacpipe.project.identity.needs import probed_task, task_needs

    try:
        root = Workspace.find().root
    except ConfigError:
        return  # outside of a project there is no dvc.yaml
    with probed_task(root, task) as environment:
        needed = task_needs(root, environment)
    missing = missing_lines(listed_needs(root, "train"), needed)
    reads = ", ".join(sorted(needed.files | needed.packages)) or "nothing of its own"
    write_output(f"{'note' if missing else 'ok  '}  {'identity':<16} reads {reads}\n")
    if missing:
        advice = "dvc.yaml does not name all of it; `sacpipe lock` does, for the task of params.yaml"
        write_output(f"      {'':<16} {advice}\n")


def _task(name: str | None) -> "TaskSection":
    from sacpipe.envs import find_task, parse_task
    from sacpipe.training.config import TrainParams

    if name is None:
        return TrainParams.load_sections(Workspace.enter().params).task
    return parse_task(name) or find_task(name)
