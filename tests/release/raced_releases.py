"""Two clones of one project promote at the same moment, again and again; prints a JSON report.

Not a test itself: test_two_clones.py runs it in a process of its own, as crash_points.py is run. Both clones push
to one bare repository and use one registry. In each round both pull, both promote, and the winner pushes.
"""

import contextlib
import json
import os
import shutil
import socket
import sys
import time
from collections import Counter
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from copied_process import Copy, in_process
from release_project import IDENTITY, ReleaseProject, git
from settled import faults
from trackers_on_trial import TRACKERS, import_first

from sacpipe.core.errors import ReleaseError, SacpipeError
from sacpipe.core.files import sha256_bytes
from sacpipe.release import lease
from sacpipe.release.releases import Releases, Target
from sacpipe.tracking.registry import Registry

CLONES = ("one", "two")
GAINS = (0.5, 0.25, 0.125)


class _Open:
    """A registry that cannot exclude, as one over HTTP, and which is slow now and then."""

    def __init__(self, registry: Registry, seed: str) -> None:
        self._registry, self._seed, self._calls = registry, seed, 0

    def __getattr__(self, name: str) -> Any:
        self._calls += 1
        if sha256_bytes(f"{self._seed} {self._calls}".encode())[0] in "01":
            time.sleep(0.05)
        return getattr(self._registry, name)

    def exclusive(self, name: str) -> AbstractContextManager[bool]:
        """Exclude no promoter."""
        del name
        return contextlib.nullcontext(False)


class Race:
    """Two clones, a bare repository and a registry in one folder."""

    def __init__(self, folder: Path, registry: str, *, excludes: bool) -> None:
        self._folder, self._registry, self._excludes = folder, registry, excludes
        self._model = f"Push-{folder.name}"  # a server has those of other tests too
        in_process(self._prepare)
        self.ends: Counter[str] = Counter()
        self.wrong: list[str] = []

    def round(self, number: int) -> None:
        """Let both promote, and note what is wrong afterwards."""
        ready, is_ready = os.pipe()
        wait, go = os.pipe()
        copies = [
            Copy(lambda clone=clone: self._promote(clone, number, is_ready, wait, go)) for clone in CLONES
        ]
        for _ in CLONES:
            os.read(ready, 1)
        os.close(go)
        ended = [copy.result() for copy in copies]
        for descriptor in (ready, is_ready, wait):
            os.close(descriptor)
        self._judge(number, ended, [copy.pid for copy in copies])
        check = self._check_one_history if self._excludes else self._check_noticed
        said, wrong = in_process(lambda: check([end["promoted"] for end in ended]))
        self.ends[said] += 1
        self.wrong += [f"round {number}: {fault}; {ended}" for fault in wrong]

    def _open(self, clone: str) -> ReleaseProject:
        for kind in ("AUTHOR", "COMMITTER"):
            os.environ |= {f"GIT_{kind}_NAME": clone, f"GIT_{kind}_EMAIL": f"{clone}@example.org"}
            IDENTITY[f"GIT_{kind}_NAME"] = clone
        tracking = self._folder / "tracking"
        return ReleaseProject(self._folder / clone, tracking, TRACKERS[self._registry](tracking), self._model)

    def _prepare(self) -> None:
        project = self._open("one")
        for gain in GAINS:
            project.register(gain)
        bare = self._folder / "bare.git"
        git(self._folder, "clone", "--quiet", "--bare", str(project.root), str(bare))
        shutil.rmtree(project.root)
        for clone in CLONES:
            git(self._folder, "clone", "--quiet", str(bare), str(self._folder / clone))

    def _releases(self, project: ReleaseProject, seed: str = "") -> Releases:
        world = project.world()
        if not self._excludes:
            world = replace(world, registry=_Open(world.registry, seed))  # type: ignore[arg-type]
        return Releases(world, self._model)

    def _promote(self, clone: str, number: int, is_ready: int, wait: int, go: int) -> dict[str, Any]:
        """Promote at the same moment as the other clone, and push; return the version, or the error."""
        project = self._open(clone)
        git(project.root, "pull", "--quiet", "--ff-only")
        champion = project.champion() or 0
        # In every second round both want the same version.
        step = 2 if clone == "two" and number % 2 else 1
        version = project.tracker.registry.version(self._model, (champion + step - 1) % len(GAINS) + 1)
        releases = self._releases(project, f"{number} {clone}")
        os.close(go)
        os.write(is_ready, b".")
        os.read(wait, 1)
        try:
            releases.promote(Target(version), reason=f"round {number} of {clone}")
        except SacpipeError as exc:
            return {"promoted": None, "error": f"{type(exc).__name__}: {exc}", "exit_code": exc.exit_code}
        git(project.root, "push", "--quiet")
        return {"promoted": version.version}

    def _judge(self, number: int, ended: list[dict[str, Any]], pids: list[int]) -> None:
        winners = [end for end in ended if end["promoted"] is not None]
        self.ends[f"{len(winners)} winners"] += 1
        if len(winners) > 1 or (self._excludes and not winners):
            self.wrong.append(f"round {number}: {len(winners)} winners: {ended}")
        for end, other, pid in zip(ended, CLONES[::-1], pids[::-1], strict=True):
            if end["promoted"] is not None:
                continue
            kind, _, message = end["error"].partition(": ")
            self.ends[kind] += 1
            if not self._excludes:
                continue
            others = (f"{other} <", f"process {pid} on {socket.gethostname()}")
            if end["exit_code"] not in (1, 2) or not any(name in message for name in others):
                self.wrong.append(f"round {number}: {end}")

    def _check_one_history(self, promoted: list[int | None]) -> tuple[str, list[str]]:
        """Check that both clones have the winner's history, and the registry its version."""
        wrong = []
        for clone in CLONES:
            project = self._open(clone)
            git(project.root, "pull", "--quiet", "--ff-only")
            wrong += [f"{clone}: {fault}" for fault in faults(project)]
            if left := git(project.root, "status", "--porcelain"):
                wrong.append(f"{clone}: {left}")
        if project.champion() not in promoted:
            wrong.append(f"champion {project.champion()}")
        return "one history", wrong

    def _check_noticed(self, _promoted: list[int | None]) -> tuple[str, list[str]]:
        """Join the clones as operators do; a disagreement must be noticed, and can be repaired."""
        for clone in (*CLONES, *CLONES):
            git(self._open(clone).root, "pull", "--quiet", "--no-rebase", "--no-edit")
            git(self._folder / clone, "push", "--quiet")
        project = self._open("one")
        said = [self._repaired(project) for _ in range(3)]
        git(project.root, "push", "--quiet")
        git(self._folder / "two", "pull", "--quiet", "--ff-only")
        return ", ".join(filter(None, said)) or "one history", [*faults(project), *faults(self._open("two"))]

    def _repaired(self, project: ReleaseProject) -> str:
        """Run the next command; where it refuses, do what it says, and return why it refused."""
        releases = self._releases(project)
        try:
            releases.settle()
        except ReleaseError as exc:
            for text, repair in (
                ("being released by", lambda _: time.sleep(0.01)),
                ("moved by hand", releases.restore),
                ("forked", releases.resolve),
                ("behind", releases.resolve),
            ):
                if text in str(exc):
                    with contextlib.suppress(ReleaseError):  # `resolve` settles too, and then finds drift
                        repair("after a race")
                    return text
            raise
        return ""


def main(folder: Path, registry: str, rounds: int, excludes: str, settle_s: float) -> None:
    """Print how the losers ended, and what was wrong."""
    os.environ.update(IDENTITY)
    import_first(registry)
    lease.SETTLE_S = settle_s
    race = Race(folder, registry, excludes=excludes == "excludes")
    for number in range(rounds):
        race.round(number)
    sys.stdout.write(json.dumps({"ends": race.ends, "wrong": race.wrong}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], float(sys.argv[5]))
