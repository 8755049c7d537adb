"""A world whose every call is a step: at one of them the process is killed, or the call fails."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

from sacpipe.core.errors import SacpipeError, StorageError, StoreError, StoreUnavailableError
from sacpipe.release.real_world import ProjectGit
from sacpipe.release.world import World
from sacpipe.tracking.registry import Registry, VersionRecord
from sacpipe.tracking.tracker import Tracker

Mode = Literal["kill", "fail", "lose", "away"]
"""What happens at the step:

    kill    SIGKILL before the call
    fail    the call raises its error, and does nothing
    lose    the call does its work, and its answer is lost
    away    the registry does not answer from here on
"""
WRITES = {
    "disk": {"write", "sync", "rename", "remove", "sync_folder"},
    "git": {"add", "commit"},
    "registry": {
        "set_alias",
        "delete_alias",
        "set_version_tags",
        "set_model_tags",
        "register",
        "restore_files",
        "set_description",
    },
    "tracker": {
        "ensure_run",
        "discard_run",
        "log_rows",
        "log_metrics",
        "log_pool",
        "log_record",
        "log_model",
        "finish_run",
    },
}
_ERRORS: dict[str, Callable[[str], SacpipeError]] = {
    "disk": StorageError,
    "git": StoreError,
    "registry": StoreUnavailableError,
    "prove": StoreError,
}


def writes(call: str) -> bool:
    """Return whether a call changes something; a kill before a read is a kill after the write before it."""
    place, _, name = call.partition(".")
    return name in WRITES.get(place, ())


class Steps:
    """The calls of one command.

    Args:
        at: Number of the call at which something happens, from 1 on; 0 for none.
        mode: What happens.
    """

    def __init__(self, at: int = 0, mode: Mode = "kill") -> None:
        self._at, self._mode = at, mode
        self.calls: list[str] = []
        """Names of the calls so far, such as `registry.set_alias`."""

    def take(self, name: str, call: Callable[[], Any]) -> Any:
        """Make a call, or what is planned for it."""
        self.calls.append(name)
        place, number = name.partition(".")[0], len(self.calls)
        if self._mode == "away" and 0 < self._at <= number and place in ("registry", "prove"):
            raise StoreUnavailableError(f"{name}: the server does not answer")
        if number != self._at or self._mode == "away":
            return call()
        if self._mode == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self._mode == "lose":
            call()
        raise _ERRORS[place](f"{name}: planned")


class _Stepped:
    """An object whose methods are steps."""

    def __init__(self, member: object, place: str, steps: Steps) -> None:
        self._member, self._place, self._steps = member, place, steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._member, name)
        return lambda *args, **named: self._steps.take(f"{self._place}.{name}", lambda: found(*args, **named))


class _SteppedGit(ProjectGit):
    """Git whose commands are steps."""

    def __init__(self, git: ProjectGit, steps: Steps) -> None:
        super().__init__(git._root)
        self._steps = steps

    def _git(self, *arguments: str) -> str:
        name = next(one for one in arguments if not one.startswith("-"))
        return str(self._steps.take(f"git.{name}", lambda: super(_SteppedGit, self)._git(*arguments)))


class SteppedTracker(_Stepped):
    """A tracker whose calls, and those of its registry, are steps."""

    def __init__(self, tracker: Tracker, steps: Steps) -> None:
        super().__init__(tracker, "tracker", steps)
        self.registry = _Stepped(tracker.registry, "registry", steps)


def stepped(world: World, steps: Steps) -> World:
    """Return a world whose calls on disk, git, registry and proof are steps."""
    assert isinstance(world.git, ProjectGit)

    def prove(registry: Registry, version: VersionRecord) -> None:
        steps.take("prove.version", lambda: world.prove(registry, version))

    return replace(
        world,
        disk=_Stepped(world.disk, "disk", steps),  # type: ignore[arg-type]
        git=_SteppedGit(world.git, steps),
        registry=_Stepped(world.registry, "registry", steps),  # type: ignore[arg-type]
        prove=prove,
    )
