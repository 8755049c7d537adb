"""`run_stage` runs the function of one stage as a process.

It finds the workspace and the stage key, turns SIGINT and SIGTERM into a request to stop at the next
checkpoint, and turns a SacpipeError into one message and an exit code.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sacpipe.core.errors import SacpipeError
from sacpipe.core.report_line import LAYOUT, escape_unprintable
from sacpipe.envs.base import Environment, TaskSection
from sacpipe.project.identity.needs import (
    loaded_needs,
    probed_task,
    product_needs,
    refuse_uncovered,
    task_needs,
)
from sacpipe.project.identity.opened_files import record_opened_files
from sacpipe.project.identity.versions import check_versions
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace


@dataclass
class Interruption:
    """Whether a signal asked this process to stop."""

    requested: bool = field(default=False)

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT or SIGTERM."""
        self.requested = True


@dataclass(frozen=True)
class StageContext:
    """The workspace, key and interruption that a stage function gets."""

    workspace: Workspace
    stage: str
    """Name of the stage in dvc.yaml."""
    key: str
    """Stage key: the name of the resume folder under work/."""
    interruption: Interruption

    def probe(
        self, task: TaskSection, members: Iterable[str], render_size: tuple[int, int] | None = None
    ) -> Environment:
        """Reset, step and render the stage's task once, and refuse what dvc.yaml does not name.

        Args:
            task: The task of params.yaml.
            members: Modules that params choose from tables.
            render_size: Height and width of images in pixels, if the stage makes any.

        Returns:
            The environment, closed, for `refuse_uncovered`.

        Raises:
            ConfigError: the task cannot be made, or dvc.yaml lacks lines; has them.
        """
        with probed_task(task, render_size) as environment:
            self.refuse_uncovered(members, environment)
        return environment

    def refuse_uncovered(self, members: Iterable[str], environment: Environment | None = None) -> None:
        """Refuse what this process has loaded and dvc.yaml does not name, before a result is published.

        Args:
            members: As for `probe`.
            environment: The stage's task, if it has one.

        Raises:
            ConfigError: dvc.yaml lacks lines; has them.
        """
        root, members = self.workspace.root, tuple(members)
        needed = product_needs(root, self.stage, members) | loaded_needs(root, self.stage, members)
        if environment is not None:
            needed |= task_needs(root, environment)
        refuse_uncovered(root, self.stage, needed)


def run_stage(name: str, body: Callable[[StageContext], None]) -> None:
    """Run one stage as a process and exit with its code.

    A stage started without DVC, by `python -m pipelines.stages.train`, gives the same outputs.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    interruption = Interruption()
    signal.signal(signal.SIGINT, interruption.request)
    signal.signal(signal.SIGTERM, interruption.request)
    try:
        workspace = Workspace.find(Path.cwd())
        check_versions(workspace.root)
        record_opened_files()
        body(StageContext(workspace, name, stage_key(workspace, name), interruption))
    except SacpipeError as exc:
        sys.stderr.write(f"sacpipe: {escape_unprintable(str(exc), kept=LAYOUT)}\n")
        sys.stderr.flush()
        os._exit(exc.exit_code)  # skips the exit handlers of simulators and thread pools
