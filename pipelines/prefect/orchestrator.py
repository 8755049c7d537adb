"""The orchestrator `prefect`: steps are tasks of one Prefect flow; its UI shows states and artifacts."""

import os
from collections.abc import Callable
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pipelines.prefect import settings
from pipelines.prefect.temporary_server import TemporaryServer
from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.flow.orchestrator import RETRY_DELAYS_S, Flow, Result, call_step
from sacpipe.flow.steps import has_stage_to_run
from sacpipe.flow.summary import Summary
from sacpipe.project.stage_key import stage_key
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State, TaskRun
    from prefect.tasks import Task


class PrefectOrchestrator:
    """Runs the steps by the operator's server, or by a temporary one with its home in .sacpipe/.

    Where no server is named and no stage has to run, plain Python calls the steps: nothing reads a temporary
    server afterwards.
    """

    name = "prefect"

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._server: TemporaryServer | None = None
        self._address: str | None = None

    def describe(self) -> str:
        """Return the version and the server. The version of fastapi is checked, because others break it."""
        fastapi = version("fastapi")
        if not (0, 139) <= tuple(int(part) for part in fastapi.split(".")[:2]) < (0, 151):
            raise ConfigError(
                f"found fastapi {fastapi}; Prefect 3.8's server needs fastapi >=0.139,<0.151: "
                "`pip install -r requirements.lock`."
            )
        if (address := settings.server_address(self._workspace)) is not None:
            settings.probe(address)
            return f"Prefect {version('prefect')}, its server at {address}"
        server = f"Prefect {version('prefect')}, a temporary server for each run"
        return "; ".join([server, *settings.home_notices(self._workspace)])

    def start(self) -> None:
        """Ask the operator's server for its health, or begin to start a temporary one."""
        self._address = settings.server_address(self._workspace)
        if self._address is not None:
            write_line(f"Prefect: its server is {self._address}")
            settings.probe(self._address)
        elif has_stage_to_run(self._workspace):
            for line in settings.home_notices(self._workspace):
                write_line(f"Prefect: {line}")
            write_line(f"Prefect: its temporary server starts. {settings.LOCAL_ENGINE}")
            self._server = TemporaryServer(settings.read())
        else:
            write_line("Prefect: no stage has to run, so no temporary server is started for it.")

    def run(self, flow: Flow) -> Summary:
        """Run the steps as tasks that the flow calls directly, and create its artifacts.

        A subflow would cost a second, and a time-out cannot interrupt the thread of a submitted task.
        """
        if self._server is not None:
            self._use(self._server)
        elif self._address is None:
            return flow(call_step)
        import httpx
        import prefect
        from prefect.exceptions import PrefectException, TerminationSignal

        name = f"{self._workspace.root.name} {stage_key(self._workspace, 'train')[:12]}"
        summaries: list[Summary] = []

        @prefect.flow(name="sacpipe", flow_run_name=name, validate_parameters=False)
        def sacpipe_flow() -> "State[str]":
            summaries.append(flow(_call_as_task))
            _create_artifacts(summaries[-1])
            _emit_verdict(summaries[-1])
            return _final_state(summaries[-1])

        try:
            sacpipe_flow()
        except TerminationSignal as exc:
            raise KeyboardInterrupt from exc
        except (PrefectException, httpx.HTTPError, RuntimeError) as exc:
            raise settings.unavailable(str(self._address), exc) from exc
        return summaries[-1]

    def _use(self, server: TemporaryServer) -> None:
        """Wait for a temporary server, and let Prefect use it."""
        self._address = f"the temporary server in {settings.home()}"
        try:
            server.wait()
        except RuntimeError as exc:
            raise settings.unavailable(self._address, exc) from exc
        from prefect.context import refresh_global_settings_context

        os.environ["PREFECT_API_URL"] = server.api_url
        refresh_global_settings_context()


def _call_as_task(name: str, step: Callable[..., Result], *arguments: Any) -> Result:
    from prefect import task
    from prefect.cache_policies import NO_CACHE

    called = task(
        name=name,
        retries=len(RETRY_DELAYS_S),
        retry_delay_seconds=list(RETRY_DELAYS_S),
        retry_condition_fn=_is_retryable,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(step)
    return called(*arguments)


def _is_retryable(_task: "Task[Any, Any]", _run: "TaskRun", state: "State[Any]") -> bool:
    error = state.result(raise_on_failure=False)
    return isinstance(error, SacpipeError) and error.retryable


def _create_artifacts(summary: Summary) -> None:
    """Create Prefect artifacts: the result table, verdict, lineage and the report's address."""
    from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

    create_table_artifact(key="result", table=summary.rows(), description=f"Result of {summary.task}")
    create_markdown_artifact(
        key="verdict", markdown=summary.verdict_markdown(), description="Verdict of the release gate"
    )
    create_markdown_artifact(
        key="lineage", markdown=summary.lineage_markdown(), description="Digests, end to end"
    )
    create_link_artifact(key="report", link=summary.report.as_uri(), link_text="report")


def _emit_verdict(summary: Summary) -> None:
    """Emit the event `sacpipe.gate.accepted` or `sacpipe.gate.refused`, for automations of the server."""
    from prefect.events import emit_event

    promotion = summary.promotion
    emit_event(
        event=f"sacpipe.gate.{'refused' if summary.is_refused else 'accepted'}",
        resource={
            "prefect.resource.id": f"sacpipe.model.{promotion.model_name}.version.{promotion.version}",
            "prefect.resource.name": f"{promotion.model_name} version {promotion.version}",
        },
        payload={"verdict": summary.verdict.as_tree(), "promotion": promotion.as_tree()},
    )


def _final_state(summary: Summary) -> "State[str]":
    """Return the state of the flow's run: never Failed, because a repetition would give the same verdict."""
    from prefect.states import Completed

    word = "Refused" if summary.is_refused else "Completed"
    return Completed(name=word, message=f"{summary.verdict.word}: {summary.promotion.why}", data=word)
