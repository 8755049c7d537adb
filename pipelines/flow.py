"""The flow of this project: the steps of a run, in order. `sacpipe run` loads this file by its path.

The engine `prefect` runs the steps as tasks of one Prefect flow: retries continue from a checkpoint, and
Prefect's UI shows states and artifacts. The engine `local` calls the same functions. Prefect caches and
persists no step, because DVC knows which stage is stale, and no array passes through it.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipelines import prefect_server
from sacpipe.core.errors import InterruptedRunError, SacpipeError, StoreError
from sacpipe.flow import steps
from sacpipe.flow.summary import Summary
from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.stage_key import stage_key
from sacpipe.project.terminal import StageOutput, termination_as_interrupt, write_line
from sacpipe.project.workspace import STAGES, Workspace, run_lock

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task

    from pipelines.temporary_server import TemporaryServer

RETRY_DELAYS_S = (1.0, 5.0)

Result = TypeVar("Result")


class Engine(Protocol):
    """Calls a step under a name, and repeats it after an error that is retryable."""

    def __call__(self, name: str, step: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of the step.

        Raises:
            SacpipeError: the step's own error, after the last try.
        """
        ...


def pipeline(workspace: Workspace, call: Engine) -> Summary:
    """Train, export, evaluate; record each stage; run the release gate, report, push, promote.

    Raises:
        SacpipeError: a step failed; finished steps are kept, and the same command continues there.
    """
    started = time.perf_counter()
    params = call("preflight", steps.preflight, workspace)
    outcomes: dict[str, Outcome] = {}
    for stage in STAGES:
        outcomes[stage] = call(stage, steps.reproduce, workspace, stage, StageOutput())
        write_line(f"{stage}: {outcomes[stage]}")
    unrecorded = _record(workspace, outcomes, call)
    verdict = call("gate", steps.release_gate, workspace, params)
    report = call("report", steps.write_page, workspace)
    pushed = _push(workspace, call)
    if unrecorded is not None:
        raise type(unrecorded)(
            f"{unrecorded}\nTraining, evaluation and report ({report}) are done; nothing is registered. "
            "When MLflow works again, `sacpipe run` records and registers without training."
        )
    promotion = call("promote", steps.promote, workspace, params, verdict)
    seconds = time.perf_counter() - started
    return Summary.of(
        workspace, outcomes=outcomes, verdict=verdict, promotion=promotion, pushed=pushed, seconds=seconds
    )


def _record(workspace: Workspace, outcomes: dict[str, Outcome], call: Engine) -> StoreError | None:
    """Record every stage; return an error instead of raising it, because the report is not written yet."""
    try:
        for stage in STAGES:
            call(f"ledger {stage}", steps.record, workspace, stage, outcomes[stage])
    except StoreError as exc:
        return exc
    return None


def _push(workspace: Workspace, call: Engine) -> str:
    """Push the outputs. An error of the remote does not prevent the release."""
    try:
        return call("push", steps.push, workspace)
    except StoreError as exc:
        write_line(f"not pushed: {exc}")
        return f"not pushed: {exc}"


def run_pipeline(workspace: Workspace, *, engine: str) -> Summary:
    """Run the steps with the `prefect` or the `local` engine, under the workspace's lock.

    Raises:
        BusyError: another run is in progress in this folder.
        SacpipeError: a step failed.
    """
    with run_lock(workspace), termination_as_interrupt():
        steps.name_dependencies(workspace)
        steps.preflight(workspace)  # bad input is refused before Prefect's server starts
        run = _prefect_run(workspace) if engine == "prefect" else None
        steps.check_stores(workspace)  # while the server starts
        if notice := steps.processor_notice(workspace):
            write_line(notice)
        try:
            return pipeline(workspace, _call_locally) if run is None else run()
        except KeyboardInterrupt as exc:
            raise InterruptedRunError(
                "the run was interrupted. Finished steps are kept; the same command continues."
            ) from exc


def describe_orchestrator(workspace: Workspace) -> str:
    """Return which Prefect server a run would use, for `sacpipe doctor`.

    Raises:
        SacpipeError: Prefect's settings, its home or its server cannot be used.
    """
    return prefect_server.describe(workspace)


def _call_locally(name: str, step: Callable[..., Result], *arguments: Any) -> Result:
    for delay_s in RETRY_DELAYS_S:
        try:
            return step(*arguments)
        except SacpipeError as exc:
            if not exc.retryable:
                raise
            write_line(f"{name}: {exc}\n{name}: trying again in {delay_s:g} s")
            time.sleep(delay_s)
    return step(*arguments)


def _prefect_run(workspace: Workspace) -> Callable[[], Summary] | None:
    """Make ready for a run by Prefect, and return it; None where no stage has to run and no server is named.

    Raises:
        ConfigError: Prefect's settings are wrong.
        StoreUnavailableError: the operator's server does not answer, or a temporary one cannot be started.
    """
    if prefect_server.check_settings() is None and not steps.has_stage_to_run(workspace):
        write_line("Prefect: no stage has to run, so no temporary server is started for it.")
        return None
    server = prefect_server.open_api(workspace)
    return lambda: _run_with_prefect(workspace, server)


def _run_with_prefect(workspace: Workspace, server: "TemporaryServer | None") -> Summary:
    """Run the steps as tasks that the flow calls directly.

    A subflow would cost a second, and a time-out cannot interrupt the thread of a submitted task.

    Raises:
        KeyboardInterrupt: SIGTERM reached the flow.
        StoreUnavailableError: Prefect's server does not answer or does not start.
        SacpipeError: a step failed.
    """
    where = prefect_server.use_api(server)
    import httpx
    from prefect import flow
    from prefect.exceptions import PrefectException, TerminationSignal

    key = stage_key(workspace, "train")

    @flow(name="sacpipe", flow_run_name=f"{workspace.root.name} {key[:12]}", validate_parameters=False)
    def sacpipe_flow() -> Summary:
        summary = pipeline(workspace, _call_as_task)
        _create_artifacts(summary)
        return summary

    try:
        return sacpipe_flow()
    except TerminationSignal as exc:
        raise KeyboardInterrupt from exc
    except (PrefectException, httpx.HTTPError, RuntimeError) as exc:
        raise prefect_server.unavailable(where, exc) from exc


def _call_as_task(name: str, step: Callable[..., Result], *arguments: Any) -> Result:
    """Call one step as a Prefect task."""
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    options: dict[str, Any] = {
        "name": name,
        "retries": len(RETRY_DELAYS_S),
        "retry_delay_seconds": list(RETRY_DELAYS_S),
        "retry_condition_fn": _is_retryable,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }
    result: Result = task(step, **options)(*arguments)
    return result


def _is_retryable(_task: "Task[Any, Any]", _run: "TaskRun", state: "State[Any]") -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, SacpipeError) and error.retryable


def _create_artifacts(summary: Summary) -> None:
    """Create Prefect artifacts: the result table, the lineage and the report's address."""
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

    create_table_artifact(key="result", table=summary.rows(), description=f"Result of {summary.task}")
    create_markdown_artifact(
        key="lineage", markdown=summary.lineage_markdown(), description="Digests, end to end"
    )
    create_link_artifact(key="report", link=summary.report.as_uri(), link_text="report")
