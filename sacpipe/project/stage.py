"""The work, one plain function a file: files in, files out. No DVC, no Prefect, no MLflow.

`run_stage` is the frame around each: it finds the workspace and the stage key, turns the signals of
an impatient operator into a checkpoint, and an error of the tree into one message and an exit code.
"""

import logging
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from sacpipe.core.errors import SacpipeError
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace


@dataclass
class Interruption:
    """Whether somebody asked this process to stop."""

    requested: bool = field(default=False)

    def request(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGINT or SIGTERM."""
        self.requested = True


@dataclass(frozen=True)
class StageContext:
    """What a stage is told about where it runs."""

    workspace: Workspace
    key: str
    """The stage key: names the folder for unfinished work."""
    interruption: Interruption


def run_stage(name: str, body: Callable[[StageContext], None]) -> None:
    """Run one stage as a process and exit with its code.

    A stage started outside DVC, with `python -m pipelines.stages.train`, does the same work.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s", stream=sys.stderr)
    interruption = Interruption()
    signal.signal(signal.SIGINT, interruption.request)
    signal.signal(signal.SIGTERM, interruption.request)
    try:
        workspace = Workspace.find(Path.cwd())
        body(StageContext(workspace, stage_key(workspace, name), interruption))
    except SacpipeError as exc:
        sys.stderr.write(f"sacpipe: {exc}\n")
        sys.stderr.flush()
        os._exit(exc.exit_code)  # simulators and thread pools have nothing left to say
