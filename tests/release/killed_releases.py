"""Kills a release command before each of its calls, or lets a call fail; prints a JSON report.

Not a test itself: test_killed_release.py runs it in a process of its own, as crash_points.py is run. Each try is
a process that is killed, and another one that runs the next command.
"""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from copied_process import in_process
from release_project import IDENTITY, MODEL, ReleaseProject, git
from settled import faults, state
from stepped_world import Mode, Steps, stepped, writes
from trackers_on_trial import TRACKERS, import_first

from sacpipe.core.errors import ReleaseError, SacpipeError
from sacpipe.release import lease
from sacpipe.release.head import read_head
from sacpipe.release.releases import Releases, Target


def _promote(number: int, *, again: bool = False) -> "Command":
    def command(project: ReleaseProject, releases: Releases) -> list[str]:
        version, champion = project.tracker.registry.version(MODEL, number), releases.history().champion
        judged = None if champion is None else champion.bundle
        target = Target(version, {"accepted": True, "of": number}, judged_against=judged)
        return releases.promote(target, reason=f"version {number} is better", again=again)

    return command


def _rollback(_project: ReleaseProject, releases: Releases) -> list[str]:
    return releases.rollback(None, reason="it trembles")


def _restore(_project: ReleaseProject, releases: Releases) -> list[str]:
    return releases.restore("an unknown hand moved it")


def _adopt(_project: ReleaseProject, releases: Releases) -> list[str]:
    return releases.adopt("the night shift did")


def _by_hand(number: int) -> "Command":
    def command(project: ReleaseProject, _releases: Releases) -> list[str]:
        project.tracker.registry.set_alias(MODEL, "champion", number)
        return []

    return command


Command = Callable[[ReleaseProject, Releases], list[str]]


@dataclass(frozen=True)
class Scene:
    """A command, and what was done before it; version 1 and 2 are registered."""

    earlier: tuple[Command, ...]
    command: Command
    before: int | None
    """Champion before the command."""
    after: int
    """Champion after it."""
    is_drift: bool = False
    """Whether a hand moved the alias, so that nothing but the command itself goes on."""


BOTH = (_promote(1), _promote(2))
SCENES = {
    "first": Scene((), _promote(1), None, 1),
    "replacement": Scene(BOTH[:1], _promote(2), 1, 2),
    "rollback": Scene(BOTH, _rollback, 2, 1),
    "again": Scene((*BOTH, _rollback), _promote(2, again=True), 1, 2),
    "restore": Scene((*BOTH, _by_hand(1)), _restore, 1, 2, is_drift=True),
    "adopt": Scene((*BOTH[:1], _by_hand(2)), _adopt, 2, 2, is_drift=True),
}


class Trial:
    """One scene on one registry, in a folder that each try finds as the last one found it."""

    def __init__(self, folder: Path, registry: str, scene: Scene) -> None:
        self._folder, self._registry, self._scene = folder, registry, scene
        in_process(self._prepare)
        shutil.copytree(folder / "now", folder / "before")

    def open(self) -> ReleaseProject:
        """Open the project as a new command does."""
        place = self._folder / "now"
        return ReleaseProject(
            place / "project", place / "tracking", TRACKERS[self._registry](place / "tracking")
        )

    def calls(self) -> list[str]:
        """Return the calls of an undisturbed command."""
        return cast(list[str], in_process(lambda: self._run(Steps())["calls"]))

    def attempt(self, at: int, mode: Mode) -> tuple[str, list[str]]:
        """Disturb the command at a call; return how the next command ended it, and what is wrong then."""
        shutil.rmtree(self._folder / "now")
        shutil.copytree(self._folder / "before", self._folder / "now", symlinks=True)
        ended = in_process(lambda: self._run(Steps(at, mode)))
        if (ended is None) != (mode == "kill"):
            return "", [f"the command ended by {ended}"]
        return cast(tuple[str, list[str]], in_process(self._settle))

    def _prepare(self) -> None:
        (self._folder / "now").mkdir()
        project = self.open()
        for gain in (0.5, 0.25):
            project.register(gain)
        for command in self._scene.earlier:
            command(project, project.releases())

    def _run(self, steps: Steps) -> dict[str, Any]:
        project, error = self.open(), None
        try:
            self._scene.command(project, Releases(stepped(project.world(), steps), MODEL))
        except SacpipeError as exc:
            error = f"{type(exc).__name__}: {exc}"
        return {"calls": steps.calls, "error": error}

    def _settle(self) -> tuple[str, list[str]]:
        project = self.open()
        history, head = project.releases().history(), read_head(project.tracker.registry, MODEL)
        if len(history.tips) > 1:
            return "fork", [str(tip.text()) for tip in history.tips]
        files = git(project.root, "ls-tree", "-r", "--name-only", "HEAD", "--", "release")
        is_left = history.tip is not None and (
            history.tip.is_open
            or head is None
            or head.sha256 != history.tip.sha256
            or history.tip.file_name not in files
        )
        lines, wrong = self._next_command(project)
        if is_left != bool(lines) and lines[:1] != ["drift"]:
            wrong.append(f"something is left: {is_left}, and the next command says {lines}")
        champion, kept = project.champion(), project.releases().history().records
        if champion not in (self._scene.before, self._scene.after):
            wrong.append(f"champion {champion}")
        if not history.records.keys() <= kept.keys():
            wrong.append("records were dropped")
        settled = state(project)
        if (second := project.releases().settle()) or state(project) != settled:
            wrong.append(f"a second settle did something: {second}")
        if champion != self._scene.after:
            self._scene.command(project, project.releases())
            wrong += [f"run again: {fault}" for fault in faults(project)]
        if project.champion() != self._scene.after:
            wrong.append(f"run again: champion {project.champion()}")
        return " ".join(line.partition(":")[0] for line in lines) or "nothing", wrong

    def _next_command(self, project: ReleaseProject) -> tuple[list[str], list[str]]:
        """Settle; after drift the operator runs the command again."""
        lines = []
        try:
            lines = project.releases().settle()
        except ReleaseError as exc:
            if not self._scene.is_drift or "was moved by hand" not in str(exc):
                return [], [str(exc)]
            lines = ["drift", *self._scene.command(project, project.releases())]
        return lines, list(faults(project))


def main(folder: Path, registry: str, scene: str, mode: Mode, which: str) -> None:
    """Print the calls, how each try ended, and what was wrong."""
    os.environ.update(IDENTITY)
    import_first(registry)
    lease.SETTLE_S = 0.0  # no other promoter competes
    trial = Trial(folder, registry, SCENES[scene])
    calls = trial.calls()
    ends: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    for at, call in enumerate(calls, start=1):
        if which == "all" or writes(call) or (which == "registry" and call.startswith(("registry", "prove"))):
            end, found = trial.attempt(at, mode)
            ends[end] += 1
            if found:
                wrong[f"{at} {call}"] = found
    sys.stdout.write(json.dumps({"calls": len(calls), "tries": ends.total(), "ends": ends, "wrong": wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], cast(Mode, sys.argv[4]), sys.argv[5])
