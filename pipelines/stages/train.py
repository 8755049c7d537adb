"""Train a policy. Input: params.yaml. Outputs: policy, replay pool, metrics and learning curve."""

import os
import runpy
import sys
from pathlib import Path

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_json
from sacpipe.project.identity.members import members_of
from sacpipe.project.processor_kind import record_kind
from sacpipe.project.stage import StageContext, run_stage
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.outputs import publish
from sacpipe.training.progress_display import ProgressDisplay
from sacpipe.training.resume import open_run

_CHECKS = "sacpipe.params.checks"
"""Named, not imported: what a stage imports is a part of its identity."""
_REFUSED, _FAILED = 2, 3
"""Exit codes of the check."""


def check_later_sections(params: Path) -> None:
    """Refuse a params.yaml that a later stage would refuse, before the first training step.

    The check runs in a copy of this process: this stage's result depends neither on the later sections nor on
    the code of their stages, and a copy need not import PyTorch again, which takes longer than the check. A
    check that fails otherwise is ignored: the later stage tells the reason.

    Raises:
        ConfigError: the message of the check.
    """
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _check(params, writing)
        finally:
            os._exit(_FAILED)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8", errors="replace") as pipe:
        message = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == _REFUSED:
        raise ConfigError(message.strip())


def _check(params: Path, writing: int) -> None:
    """End this process with the code of the check, which writes its message to a pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(writing, 2)
    sys.argv = [_CHECKS, str(params)]
    try:
        runpy.run_module(_CHECKS, run_name="__main__")
    except SystemExit as exc:
        sys.stderr.flush()
        os._exit(exc.code if isinstance(exc.code, int) else _FAILED)


def train_stage(context: StageContext) -> None:
    """Train from the start, or from the last checkpoint of this stage key."""
    workspace = context.workspace
    params = TrainParams.load_sections(workspace.params)
    check_later_sections(workspace.params)
    members = members_of(params.task, params.algorithm, params.engine, params.replay)
    context.keep_record()
    task = context.probe(params.task, members)
    keep_freed_memory()
    pin_arithmetic(params.engine.num_threads)
    extended = params.training.extends
    run = open_run(
        params,
        workspace.work(context.key),
        context.key,
        base=None if extended is None else workspace.work(extended),
        initial_pool=workspace.initial_pool,
        warm_start=workspace.warm_start,
    )
    try:
        title = f"train {run.spec.task}"
        with ProgressDisplay(title, params.training.total_steps, run.env_steps) as progress:
            train(run, lambda: context.interruption.requested, progress)
        context.refuse_uncovered(members, task)
        report = publish(run, workspace.train, workspace.curve)
        write_json(workspace.stage_results("train"), report.compared())
    finally:
        run.close()
    record_kind(workspace, "train", context.key)


if __name__ == "__main__":
    run_stage("train", train_stage)
