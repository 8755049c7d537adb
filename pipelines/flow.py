"""The flow of this project: the steps of a run, in order. `sacpipe run` loads this file by its path.

An orchestrator calls the steps: Prefect (pipelines/prefect/), plain Python, or another package's. None caches
or persists a step, because DVC knows which stage is stale, and no array passes through it.
"""

import time

from sacpipe.core.errors import InterruptedRunError, SacpipeError, StoreError
from sacpipe.flow import release_steps, steps
from sacpipe.flow.orchestrator import Call, open_orchestrator
from sacpipe.flow.release_steps import RegisteredVerdict
from sacpipe.flow.summary import Summary
from sacpipe.params.model import Params
from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.terminal import StageOutput, termination_as_interrupt, write_line
from sacpipe.project.workspace import STAGES, Workspace, run_lock


def pipeline(workspace: Workspace, call: Call) -> Summary:
    """Train, export, evaluate; record each stage; register a candidate and judge it; report, push, release.

    Raises:
        SacpipeError: a step failed; finished steps are kept, and the same command continues there.
    """
    started = time.perf_counter()
    params = call("preflight", steps.preflight, workspace)
    outcomes: dict[str, Outcome] = {}
    for stage in STAGES:
        outcomes[stage] = call(stage, steps.reproduce, workspace, stage, StageOutput())
        write_line(f"{stage}: {outcomes[stage]}")
    judged = _judge(workspace, params, outcomes, call)
    report = call("report", steps.write_page, workspace)
    pushed = _push(workspace, call)
    if isinstance(judged, SacpipeError):
        write_line(
            f"Training, evaluation and report ({report}) are done; the candidate is not judged. When the "
            "cause is repaired, `sacpipe run` records, registers and judges without training."
        )
        raise judged
    promotion = call("release", release_steps.release, workspace, judged)
    return Summary.of(
        workspace,
        outcomes=outcomes,
        verdict=judged.verdict,
        promotion=promotion,
        pushed=pushed,
        seconds=time.perf_counter() - started,
    )


def _judge(
    workspace: Workspace, params: Params, outcomes: dict[str, Outcome], call: Call
) -> RegisteredVerdict | SacpipeError:
    """Record, register and judge; return an error instead of raising it: the report is not written yet."""
    try:
        for stage in STAGES:
            call(f"ledger {stage}", steps.record, workspace, stage, outcomes[stage])
        version = call("register", release_steps.register, workspace, params)
        return call("gate", release_steps.judge, workspace, version)
    except InterruptedRunError:
        raise
    except SacpipeError as exc:
        return exc


def _push(workspace: Workspace, call: Call) -> str:
    """Push the outputs. An error of the remote does not prevent the release."""
    try:
        return call("push", steps.push, workspace)
    except StoreError as exc:
        write_line(f"not pushed: {exc}")
        return f"not pushed: {exc}"


def run_pipeline(workspace: Workspace, *, engine: str) -> Summary:
    """Run the steps under the workspace's lock.

    Args:
        workspace: The project.
        engine: Registered name of an orchestrator, or its import path.

    Raises:
        BusyError: another run is in progress in this folder.
        ReleaseError: the champion's alias is not where the release history says.
        SacpipeError: a step failed, or the orchestrator cannot be used.
    """
    with run_lock(workspace), termination_as_interrupt():
        steps.name_dependencies(workspace)
        params = steps.preflight(workspace)  # bad input is refused before a server starts
        orchestrator = open_orchestrator(engine, workspace)  # a module loaded before would be the task's
        orchestrator.start()
        steps.check_stores(workspace)  # while the server starts
        release_steps.settle(workspace, params)
        if notice := steps.processor_notice(workspace):
            write_line(notice)
        try:
            return orchestrator.run(lambda call: pipeline(workspace, call))
        except KeyboardInterrupt as exc:
            raise InterruptedRunError(
                "the run was interrupted. Finished steps are kept; the same command continues."
            ) from exc
