"""Orchestrators: what calls the steps of a run, and repeats those whose error may go away.

A project's flow says which steps there are and in which order; an orchestrator says who calls them. Each is
one file: `prefect` belongs to the project (pipelines/prefect/), and an installed package adds one by an entry
point of the group `sacpipe.orchestrators`. `local`, plain Python, is below.
"""

import time
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from sacpipe.core.errors import ConfigError, SacpipeError
from sacpipe.core.fence import fenced
from sacpipe.core.members import Members
from sacpipe.flow.summary import Summary
from sacpipe.project.terminal import write_line
from sacpipe.project.workspace import Workspace

ORCHESTRATORS = Members(
    "orchestrator",
    "sacpipe.orchestrators",
    {
        "prefect": "pipelines.prefect.orchestrator:PrefectOrchestrator",
        "local": "sacpipe.flow.orchestrator:LocalOrchestrator",
    },
    base=object,
)
RETRY_DELAYS_S = (1.0, 5.0)
"""Seconds before each repetition of a step."""

Result = TypeVar("Result")


class Call(Protocol):
    """Calls a step under a name, and repeats it after an error that is retryable."""

    def __call__(self, name: str, step: Callable[..., Result], *arguments: Any) -> Result:
        """Return the result of the step, or raise its own error after the last try."""
        ...


Flow: TypeAlias = Callable[[Call], Summary]
"""The steps of a run in order; it gets what calls them."""


@runtime_checkable
class Orchestrator(Protocol):
    """Runs one flow of one workspace. A member is a class that is made with the workspace alone."""

    name: str
    """Its own name, for messages."""

    def describe(self) -> str:
        """Return in one line what a run would use, for `sacpipe doctor`.

        Raises:
            SacpipeError: a run would fail.
        """
        ...

    def start(self) -> None:
        """Begin to start what the run needs, without waiting for it; called once, before `run`.

        Raises:
            SacpipeError: it cannot be used.
        """
        ...

    def run(self, flow: Flow) -> Summary:
        """Run the flow in this process, one step at a time, and return its summary; nothing is cached.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM reached the flow.
            SacpipeError: the flow's own error, or the orchestrator failed.
        """
        ...


def open_orchestrator(name: str, workspace: Workspace) -> Orchestrator:
    """Return the orchestrator of a registered name or an import path, for one run of a workspace.

    Errors of another package's are StoreErrors; those of a step pass.

    Raises:
        ConfigError: there is none of this name, or it is no orchestrator.
    """
    made = ORCHESTRATORS.find_or_import(name)
    try:
        found = made(workspace)
    except Exception as exc:
        raise ConfigError(f"orchestrator '{name}' cannot be made: {type(exc).__name__}: {exc}.") from exc
    if not isinstance(found, Orchestrator):
        expected = "`name`, `describe`, `start` and `run` of sacpipe.flow.orchestrator.Orchestrator"
        raise ConfigError(f"orchestrator '{name}': expected {expected}, not {repr(found)[:100]}.")
    return fenced(found, f"orchestrator '{name}'", "sacpipe.flow.steps")


class LocalOrchestrator:
    """Plain Python calls the steps, and keeps nothing."""

    name = "local"

    def __init__(self, _workspace: Workspace) -> None: ...

    def describe(self) -> str:
        """Return that nothing else is used."""
        return "plain Python, no server"

    def start(self) -> None:
        """Do nothing: there is no server."""

    def run(self, flow: Flow) -> Summary:
        """Run the flow."""
        return flow(call_step)


def call_step(name: str, step: Callable[..., Result], *arguments: Any) -> Result:
    """Call a step, and repeat it with a line about each error that is retryable; see `Call`."""
    for delay_s in RETRY_DELAYS_S:
        try:
            return step(*arguments)
        except SacpipeError as exc:
            if not exc.retryable:
                raise
            write_line(f"{name}: {exc}\n{name}: trying again in {delay_s:g} s")
            time.sleep(delay_s)
    return step(*arguments)
