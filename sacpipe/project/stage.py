"""`run_stage` runs the function of one stage as a process.

It finds the workspace and the stage key, turns SIGINT and SIGTERM into a request to stop at the next
checkpoint, and turns a SacpipeError into one message and an exit code.
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
from sacpipe.core.report_line import LAYOUT, escape_unprintable
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
    key: str
    """Stage key: the name of the resume folder under work/."""
    interruption: Interruption


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
        body(StageContext(workspace, stage_key(workspace, name), interruption))
    except SacpipeError as exc:
        sys.stderr.write(f"sacpipe: {escape_unprintable(str(exc), kept=LAYOUT)}\n")
        sys.stderr.flush()
        os._exit(exc.exit_code)  # skips the exit handlers of simulators and thread pools
