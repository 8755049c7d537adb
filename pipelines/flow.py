"""The recipe, read from top to bottom; an engine decides how its steps are called.

`prefect` runs them as tasks of one flow: retries that continue from a checkpoint, states and
artifacts in Prefect's UI. `local` calls the same functions. No step is cached by Prefect: DVC knows
what is stale.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sacpipe.core.errors import InterruptedRunError, SacpipeError, StoreError
from sacpipe.flow import steps
from sacpipe.flow.summary import Summary
from sacpipe.project.dvc.store import Outcome
from sacpipe.project.terminal import StageVoice, say, termination_as_interrupt
from sacpipe.project.workspace import STAGES, Workspace, run_lock

RETRY_DELAYS_S = (1.0, 5.0)

Result = TypeVar("Result")


class Engine(Protocol):
    """Calls a step under a name, and again where its error says that may help."""

    def __call__(self, name: str, step: Callable[..., Result], *arguments: Any) -> Result:
        """Return what the step returns.

        Raises:
            SacpipeError: the step's own, after the last try.
        """
        ...


def pipeline(workspace: Workspace, call: Engine) -> Summary:
    """Train, export, evaluate; record each; judge, promote, report, push.

    Raises:
        SacpipeError: a step failed; everything before it is kept, and running again continues there.
    """
    started = time.perf_counter()
    params = call("preflight", steps.preflight, workspace)
    outcomes: dict[str, Outcome] = {}
    for stage in STAGES:
        outcomes[stage] = call(stage, steps.reproduce, workspace, stage, StageVoice())
        say(f"{stage}: {outcomes[stage]}")
    unrecorded = _record(workspace, outcomes, call)
    verdict = call("gate", steps.gate, workspace, params)
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
    """Record every stage; a ledger that fails is told at the end, not in the way of the report."""
    try:
        for stage in STAGES:
            call(f"ledger {stage}", steps.record, workspace, stage, outcomes[stage])
    except StoreError as exc:
        return exc
    return None


def _push(workspace: Workspace, call: Engine) -> str:
    """Push; a remote that fails keeps nobody from releasing what is already here."""
    try:
        return call("push", steps.push, workspace)
    except StoreError as exc:
        say(f"not pushed: {exc}")
        return f"not pushed: {exc}"


def run_pipeline(workspace: Workspace, *, engine: str) -> Summary:
    """Run the recipe, alone in its folder, under the `prefect` or the `local` engine.

    Raises:
        BusyError: another run is at work in this folder.
        SacpipeError: a step failed.
    """
    with run_lock(workspace), termination_as_interrupt():
        steps.preflight(workspace)  # before a server is started for nothing
        try:
            return pipeline(workspace, _call_locally) if engine == "local" else _run_with_prefect(workspace)
        except KeyboardInterrupt as exc:
            raise InterruptedRunError(
                "the run was interrupted. What is finished is kept; the same command continues."
            ) from exc


def _call_locally(name: str, step: Callable[..., Result], *arguments: Any) -> Result:
    for delay_s in RETRY_DELAYS_S:
        try:
            return step(*arguments)
        except SacpipeError as exc:
            if not exc.retryable:
                raise
            say(f"{name}: {exc}\n{name}: trying again in {delay_s:g} s")
            time.sleep(delay_s)
    return step(*arguments)


def _run_with_prefect(workspace: Workspace) -> Summary:
    from pipelines.prefect_engine import run_flow

    return run_flow(workspace, pipeline)
