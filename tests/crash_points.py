"""Kills a writer before each of its file operations, and once more while it recovers; prints a JSON report.

Not a test itself: test_recovery.py runs it in a process of its own, because it forks and exits hard. An
audit hook sees every open, rename, remove, mkdir and chmod under the folder before it happens.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from factories import make_spec
from folder_digest import sha256_tree
from pool_fixtures import with_camera

from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.manifest import PoolPosition
from sacpipe.replay.pool.writer import START, PoolWriter
from sacpipe.specs.records import Transition

KILLED = 9
OPERATIONS = {"open", "os.rename", "os.remove", "os.mkdir", "os.chmod"}
CONFIG = PoolConfig(segment_transitions=4, format="compact")
SPEC = with_camera(make_spec(1, [(-1.0, 1.0)], control_period_s=None, max_episode_steps=None))


def transition(step: int) -> Transition:
    """The step-th of a walk whose episodes last five steps."""
    before, after = (
        SPEC.layout.pack({"state": [place], "camera": np.full((2, 3, 3), place)})
        for place in (step, step + 1)
    )
    action = before.vector / 100
    return Transition(before, action, float(step), after, False, step % 5 == 4, step // 5)


def work(folder: Path, position: PoolPosition, tell: Callable[[PoolPosition], None]) -> None:
    """Write 14 transitions from a position on, flushing after every third, then finish and publish."""
    writer = PoolWriter.resume(folder / "work", SPEC, CONFIG, position)
    for step in range(writer.transitions, 14):
        writer.append(transition(step))
        if step % 3 == 2:
            tell(writer.flush())
    writer.finish()
    writer.publish(folder / "published")


def die_before(folder: Path, count: int) -> None:
    """Let this process die before its count-th operation under a folder."""
    left = count

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in OPERATIONS and str(arguments[0]).startswith(str(folder)):
            if left == 0:
                os._exit(KILLED)
            left -= 1

    sys.addaudithook(hook)


def has_died(child: int) -> bool:
    """Wait for a child, and say whether it was killed."""
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code not in (0, KILLED):
        raise RuntimeError(f"the child failed with {code}")
    return code == KILLED


def killed_at(folder: Path, position: PoolPosition, count: int) -> tuple[bool, PoolPosition]:
    """Work in a child that dies before its count-th operation; return whether it died, and the position."""
    reader, sender = os.pipe()
    child = os.fork()
    if child == 0:
        die_before(folder, count)
        try:
            work(folder, position, lambda new: os.write(sender, (json.dumps(new.as_tree()) + "\n").encode()))
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    os.close(sender)
    with os.fdopen(reader) as file:
        lines = file.read().splitlines()
    return has_died(child), PoolPosition.parse(json.loads(lines[-1])) if lines else position


def finished(folder: Path, position: PoolPosition) -> str:
    """Digest of what a last, undisturbed try publishes."""
    if not (folder / "published").exists():
        work(folder, position, lambda _: None)
    return sha256_tree(folder / "published")


def main(base: Path) -> None:
    """Print how many kills were tried and which of them changed the result."""
    expected = finished(base / "straight", START)
    folder, copy = base / "killed", base / "copy"
    different: list[list[int]] = []
    single_kills = double_kills = 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        died, position = killed_at(folder, START, single_kills)
        if not died:
            break
        for second in (single_kills % 5, single_kills % 5 + 6):
            shutil.rmtree(copy, ignore_errors=True)
            folder.mkdir(exist_ok=True)
            shutil.copytree(folder, copy)
            if (copy / "published").exists():
                break
            _, later = killed_at(copy, position, second)
            double_kills += 1
            if finished(copy, later) != expected:
                different.append([single_kills, second])
        if finished(folder, position) != expected:
            different.append([single_kills])
        single_kills += 1
    report = {"single_kills": single_kills, "double_kills": double_kills, "different": different}
    sys.stdout.write(json.dumps(report))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
