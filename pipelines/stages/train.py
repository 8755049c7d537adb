"""Train a policy. Input: params.yaml. Outputs: policy, replay pool, metrics and learning curve."""

import subprocess
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

_REFUSED = 2


def check_later_sections(params: Path) -> None:
    """Refuse a params.yaml that a later stage would refuse, before the first training step.

    The check runs in a process of its own: this stage's result depends neither on the later sections nor on
    the code of their stages. A check that fails otherwise is ignored: the later stage tells the reason.

    Raises:
        ConfigError: the message of the check.
    """
    command = [sys.executable, "-m", "sacpipe.params.checks", str(params)]
    found = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if found.returncode == _REFUSED:
        raise ConfigError(found.stderr.strip())


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
