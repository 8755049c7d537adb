"""`run_stage` runs the function of one stage as a process.

It finds the workspace and the stage key, turns SIGINT and SIGTERM into a request to stop at the next
checkpoint, and turns an error into one message and an exit code.
"""

import contextlib
import json
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from sacpipe.core.crash_log import EXIT_CODE, report_crash
from sacpipe.core.errors import InterruptedRunError, SacpipeError
from sacpipe.core.fence import first_error
from sacpipe.core.files import storage_errors
from sacpipe.core.fixed_arithmetic import restart_fixed
from sacpipe.core.logging import operator
from sacpipe.envs.base import Environment, TaskSection
from sacpipe.project.identity.needs import (
    loaded_needs,
    member_needs,
    probed_task,
    product_needs,
    refuse_uncovered,
    task_needs,
)
from sacpipe.project.identity.opened_files import keep_record, record_opened_files
from sacpipe.project.identity.versions import check_versions
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace

ERROR_FILE = "SACPIPE_STAGE_ERROR"
"""Variable with the file that gets a stage's error as JSON. Without it, stderr gets the message."""


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
        with probed_task(self.workspace.root, task, render_size) as environment:
            self.refuse_uncovered(members, environment)
        return environment

    def keep_record(self) -> None:
        """Keep the record of opened files beside the checkpoints: a run that goes on opens them no more."""
        folder = self.workspace.work(self.key)
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            keep_record(self.workspace.root, folder / "opened_files.txt")

    def refuse_uncovered(self, members: Iterable[str], environment: Environment | None = None) -> None:
        """Refuse what this process has loaded and dvc.yaml does not name, before a result is published.

        Args:
            members: As for `probe`.
            environment: The stage's task, if it has one.

        Raises:
            ConfigError: dvc.yaml lacks lines; has them.
        """
        root, members = self.workspace.root, tuple(members)
        needed = product_needs(root, self.stage, members)
        needed |= loaded_needs(root, self.stage, members, environment) | member_needs(root, members)
        if environment is not None:
            needed |= task_needs(root, environment)
        refuse_uncovered(root, self.stage, needed)


def run_stage(name: str, body: Callable[[StageContext], None]) -> None:
    """Run one stage as a process and exit with its code.

    A stage started without DVC, by `python -m pipelines.stages.train`, gives the same outputs.

    Our stages are in the fixed environment before they import anything (`pipelines/stages/__init__.py`);
    another program starts again here.
    """
    restart_fixed()
    error_file = os.environ.pop(ERROR_FILE, None)  # of this stage, and of no program that it runs
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    interruption = Interruption()
    signal.signal(signal.SIGINT, interruption.request)
    signal.signal(signal.SIGTERM, interruption.request)
    try:
        error: BaseException | None = first_error(lambda: _run(name, body, interruption))
    except KeyboardInterrupt:
        error = InterruptedRunError(f"stage '{name}' was interrupted. The same command starts it again.")
    except SystemExit as exc:
        error = exc
    if error is not None:
        fields = _ending(name, error)
        _report(error_file, **fields)
        os._exit(fields["exit_code"])  # skips the exit handlers of simulators and thread pools


def _run(name: str, body: Callable[[StageContext], None], interruption: Interruption) -> None:
    workspace = Workspace.find(Path.cwd())
    check_versions(workspace.root)
    record_opened_files(workspace.root)
    body(StageContext(workspace, name, stage_key(workspace, name), interruption))


def _report(error_file: str | None, **fields: Any) -> None:
    """Write an error to the file of the process that runs the stage, or its message to stderr."""
    if error_file is not None:
        with contextlib.suppress(OSError):
            Path(error_file).write_text(json.dumps(fields), encoding="utf-8")
            return
    note = " Another try may succeed." if fields["retryable"] else ""
    operator.error(fields["message"] + note)


def _ending(name: str, error: BaseException) -> dict[str, Any]:
    """Return message, exit code and whether a retry may help, of a stage that ends with an error."""
    if not isinstance(error, SacpipeError):
        message = report_crash(f"stage '{name}'", error, Workspace.local_files())
        return {"message": message, "exit_code": EXIT_CODE, "retryable": False}
    helps = error.exit_code == EXIT_CODE and (error.retryable or isinstance(error, InterruptedRunError))
    return {"message": str(error), "exit_code": error.exit_code, "retryable": helps}
