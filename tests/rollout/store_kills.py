"""Kills a robot's store before each of its file operations, and once more while it opens; prints a JSON report.

Not a test itself: test_store.py runs it in a process of its own, because it forks and kills. An audit
hook sees every open, rename, remove and mkdir before it happens.
"""

import itertools
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from sacpipe.core.errors import SacpipeError
from sacpipe.robot.load_gate import AdmittedBundle, LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.sources import read_source

OPERATIONS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
SETTINGS = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def admit(folder: str) -> AdmittedBundle:
    return run_load_gate(read_source(Path(folder), allow_hard_links=False), SETTINGS)


def is_killed(work: Callable[[], None], count: int) -> bool:
    """Work in a child that dies before its count-th operation; return whether it died."""
    child = os.fork()
    if child == 0:
        left = count

        def hook(event: str, _arguments: tuple[object, ...]) -> None:
            nonlocal left
            if event in OPERATIONS:
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                left -= 1

        sys.addaudithook(hook)
        try:
            work()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, -signal.SIGKILL):
        raise RuntimeError(f"the child failed with {code}")
    return code != 0


def kills(before: Path, after: Path, work: Callable[[], None]) -> "itertools.takewhile[int]":
    """Give every count at which `work` on a copy of `before`, at `after`, dies."""

    def dies(count: int) -> bool:
        shutil.rmtree(after, ignore_errors=True)
        shutil.copytree(before, after)
        return is_killed(work, count)

    return itertools.takewhile(dies, itertools.count())


class Change:
    """From the old bundle to the new one, and to its signed copy."""

    def __init__(self, old: AdmittedBundle, new: AdmittedBundle, signed: AdmittedBundle) -> None:
        self.new, self.signed = new, signed
        self.names = {old.report.bundle_digest: "old", new.report.bundle_digest: "new"}
        self.old_digest, self.new_digest = self.names

    def make(self, folder: Path) -> None:
        """Do it; from wherever an earlier try was killed."""
        with BundleStore(folder) as store:
            store.set_current(store.add(self.new), "new")
            store.add(self.signed)
            store.mark_bad(self.old_digest, "replaced")
            store.prune(2)

    def serve(self, folder: Path) -> str:
        """Open the store as a robot does at its start, and return which bundle it can serve."""
        with BundleStore(folder) as store:
            served = next(store.good(), None)
            if served is None or served != store.current():
                raise RuntimeError(f"serves {served}, current is {store.current()}")
            OnnxPolicy(store.path(served.bundle_digest))
            for path in (folder / "sha256").iterdir():
                store.verify(path.name)  # each folder with a digest as its name is whole
            if leftovers := list(folder.rglob("*.tmp")):
                raise RuntimeError(f"leftovers {leftovers}")
        return self.names[served.bundle_digest]


def main(folder: Path, old: AdmittedBundle, change: Change) -> dict[str, object]:
    """Kill at every point, and check the store that is left."""
    before, killed, twice, wanted = (folder / name for name in ("before", "killed", "twice", "wanted"))
    with BundleStore(before) as store:
        store.set_current(store.add(old), "old")
    shutil.copytree(before, wanted)
    change.make(wanted)
    report = {"kills": 0, "kills_while_opening": 0, "served": set(), "faults": []}

    def check_after_kill(where: str, *, is_to_go_on: bool) -> None:
        try:
            report["served"].add(change.serve(twice))
            if is_to_go_on:
                change.make(twice)
        except (SacpipeError, RuntimeError, OSError) as exc:
            report["faults"].append(f"killed at {where}: {exc}")
        if is_to_go_on and contents(twice) != contents(wanted):
            report["faults"].append(f"killed at {where}: another store in the end")

    for count in kills(before, killed, lambda: change.make(killed)):
        report["kills"] += 1
        for opening in kills(killed, twice, lambda: BundleStore(twice).close()):
            report["kills_while_opening"] += 1
            check_after_kill(f"{count} and at {opening}", is_to_go_on=False)
        check_after_kill(str(count), is_to_go_on=True)
    return report | {"served": sorted(report["served"])}


if __name__ == "__main__":
    os.fsync = lambda _descriptor: None  # a killed process, unlike a power cut, takes no byte with it
    old, new, signed = (admit(name) for name in sys.argv[2:5])
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), old, Change(old, new, signed))) + "\n")
