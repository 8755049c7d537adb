"""Train a policy. Input: params.yaml. Outputs: policy, replay pool, metrics and learning curve."""

from sacpipe.core.files import write_json
from sacpipe.project.processor_kind import record_kind
from sacpipe.project.stage import StageContext, run_stage
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.numerics import keep_freed_memory, pin_arithmetic
from sacpipe.training.outputs import publish
from sacpipe.training.progress_display import ProgressDisplay
from sacpipe.training.resume import open_run


def train_stage(context: StageContext) -> None:
    """Train from the start, or from the last checkpoint of this stage key."""
    workspace = context.workspace
    params = TrainParams.load_sections(workspace.params)
    keep_freed_memory()
    pin_arithmetic(params.training.num_threads)
    extended = params.training.extends
    run = open_run(
        params,
        workspace.work(context.key),
        context.key,
        base=None if extended is None else workspace.work(extended),
        initial_pool=workspace.initial_pool,
    )
    try:
        title = f"train {run.spec.task}"
        with ProgressDisplay(title, params.training.total_steps, run.env_steps) as progress:
            train(run, lambda: context.interruption.requested, progress)
        report = publish(run, workspace.train, workspace.curve)
        write_json(workspace.stage_results("train"), report.compared())
    finally:
        run.close()
    record_kind(workspace, "train", context.key)


if __name__ == "__main__":
    run_stage("train", train_stage)
