"""Kills the writer of a recording before each of its file operations, and the one that closes it; prints JSON.

Not a test itself: test_recording.py runs it in a process of its own, as crash_points.py is run.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from crash_points import SPEC, die_before, has_died, transition

from sacpipe.core.errors import PoolError
from sacpipe.robot.recording.format import RecordedPolicy, RecordedStep, Recording
from sacpipe.robot.recording.writer import RecordingWriter

POLICY = RecordedPolicy(bundle_sha256="b" * 64, contract_sha256="c" * 64)


def step(number: int) -> RecordedStep:
    executed_action = np.array([number / 100], np.float32)
    stamp_ns = 1000 * number
    return RecordedStep(
        stamp_ns=stamp_ns,
        next_stamp_ns=stamp_ns + 1000,
        term_stamps_ns=None,
        policy=POLICY,
        verdict="ok" if number % 2 else "limited",
        cause=None if number % 2 else f"guard_{number % 3}",
        has_reward=True,
        executed_action=executed_action,
        policy_action=executed_action,
    )


def record(folder: Path, tell: Callable[[int], None]) -> None:
    """Record 14 steps, with a flush after every third and segments of four."""
    writer = RecordingWriter.create(folder, SPEC, 4, 0.0)
    for number in range(14):
        writer.append(transition(number), step(number))
        if number % 3 == 2:
            writer.flush(0)
            tell(number + 1)
    writer.close(0)
    tell(14)


def close(folder: Path) -> None:
    RecordingWriter.resume(folder).close()


def killed_at(work: Callable[[], None], folder: Path, count: int) -> bool:
    """Work in a child that dies before its count-th operation under a folder; say whether it died."""
    child = os.fork()
    if child == 0:
        die_before(folder, count)
        try:
            work()
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return has_died(child)


def kept(folder: Path) -> int:
    """Close what was killed, check every byte, and return how many transitions there are."""
    try:
        recording = Recording.open(folder)
    except PoolError:
        close(folder)
        recording = Recording.open(folder)
    recording.check()
    return recording.pool.transitions


def main(base: Path) -> None:
    """Print how many kills were tried, and those after which what had been synced was not there."""
    lost: list[list[int]] = []
    kills = 0
    synced = base / "synced"
    while True:
        folder = base / f"recording-{kills}"
        synced.write_text("0")
        died = killed_at(lambda at=folder: record(at, lambda n: synced.write_text(str(n))), folder, kills)
        if not died:
            break
        if (folder / "recording.json").exists():
            copy = base / "copy"
            for second in (kills % 6, kills % 6 + 6):
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(folder, copy)
                killed_at(lambda at=copy: close(at), copy, second)
                if kept(copy) < int(synced.read_text()):
                    lost.append([kills, second])
            if kept(folder) < int(synced.read_text()):
                lost.append([kills])
        elif int(synced.read_text()):
            lost.append([kills])
        kills += 1
    sys.stdout.write(json.dumps({"kills": kills, "lost": lost, "whole": kept(folder)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
