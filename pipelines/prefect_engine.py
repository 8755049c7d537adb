"""The steps as tasks of one Prefect flow; the only module that imports Prefect.

One flow with tasks, called directly: a flow costs a second and a submitted task a thread whose
timeout cannot interrupt. Retries ask the error whether trying again may help. Nothing is cached or
persisted by Prefect, and no array passes through it.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import httpx
from prefect import flow, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.exceptions import PrefectException, TerminationSignal
from prefect.tasks import Task

from pipelines.flow import RETRY_DELAYS_S
from sacpipe.core.errors import SacpipeError, StoreUnavailableError
from sacpipe.flow.summary import Summary
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace

Result = TypeVar("Result")


def _may_help(_task: "Task[Any, Any]", _run: TaskRun, state: State[Any]) -> bool:
    """Say whether a failed task is worth another try."""
    error = state.result(raise_on_failure=False)
    return isinstance(error, SacpipeError) and error.retryable


def _call_as_task(name: str, step: Callable[..., Result], *arguments: Any) -> Result:
    """Call one step as a Prefect task."""
    options: dict[str, Any] = {
        "name": name,
        "retries": len(RETRY_DELAYS_S),
        "retry_delay_seconds": list(RETRY_DELAYS_S),
        "retry_condition_fn": _may_help,
        "cache_policy": NO_CACHE,
        "persist_result": False,
    }
    result: Result = task(step, **options)(*arguments)
    return result


def run_flow(workspace: Workspace, pipeline: Callable[..., Summary]) -> Summary:
    """Run the recipe as a flow and leave its artifacts.

    Raises:
        KeyboardInterrupt: SIGTERM reached the flow.
        StoreUnavailableError: Prefect's server does not answer or does not start.
        SacpipeError: a step failed.
    """
    key = stage_key(workspace, "train")

    @flow(name="sacpipe", flow_run_name=f"{workspace.root.name} {key[:12]}", validate_parameters=False)
    def sacpipe_flow() -> Summary:
        summary = pipeline(workspace, _call_as_task)
        leave_artifacts(summary)
        return summary

    try:
        return sacpipe_flow()
    except TerminationSignal as exc:
        raise KeyboardInterrupt from exc
    except (PrefectException, httpx.HTTPError, RuntimeError) as exc:
        where = (
            os.environ.get("PREFECT_API_URL") or f"the temporary server in {os.environ.get('PREFECT_HOME')}"
        )
        raise StoreUnavailableError(
            f"Prefect does not answer ({where}): {' '.join(str(exc).split())[:300]}. Start its server, or "
            "run `sacpipe run --engine local`: the same steps without Prefect."
        ) from exc


def leave_artifacts(summary: Summary) -> None:
    """Put the result table, the lineage and the report's address where Prefect shows them."""
    create_table_artifact(key="result", table=summary.rows(), description=f"Result of {summary.task}")
    create_markdown_artifact(
        key="lineage", markdown=summary.lineage_markdown(), description="Digests, end to end"
    )
    create_link_artifact(key="report", link=summary.report.as_uri(), link_text="report")
