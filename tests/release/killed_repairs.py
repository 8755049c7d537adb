"""Kills a rebuild or a repair of the registry before each of its writes; prints a JSON report.

Not a test itself: test_killed_repair.py runs it in a process of its own. Each try is a process that is killed,
and another one that runs the next command, after which all must be as after a command that was left alone.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from copied_process import in_process
from ledger_project import flip
from release_project import IDENTITY
from released_project import NAME, ReleasedProject
from stepped_world import SteppedTracker, Steps, stepped, writes
from trackers_on_trial import TRACKERS, import_first

from sacpipe.core.errors import SacpipeError
from sacpipe.project.workspace import Workspace
from sacpipe.release import lease
from sacpipe.release.heal import heal
from sacpipe.release.rebuild import rebuild
from sacpipe.release.world import World
from sacpipe.tracking.tracker import Tracker


def _lose_all(project: ReleasedProject) -> None:
    shutil.rmtree(project.workspace.state / "tracker")


def _lose_champion(project: ReleasedProject) -> None:
    project.registry.delete_alias(NAME, "champion")
    project.registry.delete_version(NAME, 1)


def _damage_two(project: ReleasedProject) -> None:
    kept = sorted((project.workspace.state / "tracker").rglob("policy.onnx"))
    flip(kept[0])
    kept[-1].unlink()


def _rebuild(workspace: Workspace, tracker: Tracker, world: World) -> list[str]:
    return list(rebuild(workspace, tracker, world))


def _heal(workspace: Workspace, tracker: Tracker, world: World) -> list[str]:
    return heal(workspace, tracker, world, NAME)


Repair = Callable[[Workspace, Tracker, World], list[str]]
SCENES: dict[str, tuple[Callable[[ReleasedProject], None], Repair, Repair]] = {
    "lost registry": (_lose_all, _rebuild, _rebuild),
    "lost champion": (_lose_champion, _heal, _heal),
    "lost champion, then a rebuild": (_lose_champion, _heal, _rebuild),
    "rebuilt champion": (_lose_champion, _rebuild, _heal),
    "damaged files": (_damage_two, _heal, _heal),
}
"""What is broken, the command that is killed, and the next one."""


class Trial:
    """One scene on one registry, in a folder that each try finds as the last one found it."""

    def __init__(self, folder: Path, generations: Path, registry: str, scene: str) -> None:
        self._folder, self._generations, self._registry = folder, generations, registry
        self._break, self._repair, self._next_repair = SCENES[scene]
        in_process(self._prepare)
        shutil.copytree(folder / "now", folder / "before", symlinks=True)

    def open(self) -> ReleasedProject:
        """Open the project as a new command does."""
        workspace = Workspace(self._folder / "now" / "project")
        tracker = TRACKERS[self._registry](workspace.state / "tracker")
        return ReleasedProject(workspace, self._generations, tracker, Path())

    def alone(self) -> tuple[list[str], Any]:
        """Return the calls of a command that is left alone, and the state after it."""
        return cast(tuple[list[str], Any], in_process(lambda: (self._run(Steps()), self._state())))

    def attempt(self, at: int, expected: Any) -> list[str]:
        """Kill the command before a call; return what is wrong after the next command."""
        shutil.rmtree(self._folder / "now")
        shutil.copytree(self._folder / "before", self._folder / "now", symlinks=True)
        if in_process(lambda: self._run(Steps(at, "kill"))) is not None:
            return ["the command was not killed"]
        return cast(list[str], in_process(lambda: self._next(expected)))

    def _prepare(self) -> None:
        shutil.copytree(self._generations / "project", self._folder / "now" / "project", symlinks=True)
        project = self.open()
        project.release_three()
        self._break(project)

    def _run(self, steps: Steps) -> list[str]:
        project = self.open()
        tracker = cast(Tracker, SteppedTracker(project.tracker, steps))
        self._repair(project.workspace, tracker, stepped(project.world, steps))
        return steps.calls

    def _next(self, expected: Any) -> list[str]:
        project = self.open()
        try:
            self._next_repair(project.workspace, project.tracker, project.world)
            lines = project.releases.settle()
        except SacpipeError as exc:
            return [f"{type(exc).__name__}: {exc}"]
        wrong = [f"settled: {line}" for line in lines]
        found = json.loads(json.dumps(self._state()))
        if found != expected:
            wrong.append(f"expected {expected}, found {found}")
        return wrong

    def _state(self) -> Any:
        project = self.open()
        has_card = bool(project.registry.version(NAME, "champion").description)
        folder = self._folder / f"fetched-{os.urandom(4).hex()}"
        folder.mkdir()
        names = {alias: project.fetched(alias, folder) for alias in ("champion", "candidate")}
        # Files in versions/ are committed by the next command that writes a record.
        left = [line for line in project.uncommitted().splitlines() if "/versions/0" not in line]
        return [project.state(), has_card, names, left]


def main(folder: Path, generations: Path, registry: str, scene: str) -> None:
    """Print the calls, the number of tries, and what was wrong."""
    os.environ.update(IDENTITY)
    import_first(registry)
    lease.SETTLE_S = 0.0  # no other promoter competes
    trial = Trial(folder, generations, registry, scene)
    calls, expected = trial.alone()
    # A run's record is the same after a kill in a training, which other tests have.
    places = [at for at, call in enumerate(calls, 1) if writes(call) and not call.startswith("tracker")]
    wrong = {f"{at} {calls[at - 1]}": found for at in places if (found := trial.attempt(at, expected))}
    sys.stdout.write(json.dumps({"calls": len(calls), "tries": len(places), "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], sys.argv[4])
