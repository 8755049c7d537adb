"""Kills an eviction before each of its file operations, and prints a JSON report.

Not a test itself: test_evict.py runs it in its own process, as crash_points.py is run.
"""

import json
import os
import shutil
import sys
from pathlib import Path

from crash_points import CONFIG, SPEC, die_before, has_died, transition
from folder_digest import sha256_tree

from sacpipe.project.evict import evict_segments
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.writer import PoolWriter

KEEP = 5


def make_pool(folder: Path) -> None:
    """Write a pool of 14 transitions in segments of four, four, four and two."""
    writer = PoolWriter.create(folder, SPEC, CONFIG)
    for step in range(14):
        writer.append(transition(step))
    writer.finish()


def is_killed(folder: Path, count: int) -> bool:
    """Evict in a child that dies before its count-th operation; return whether it died."""
    child = os.fork()
    if child == 0:
        die_before(folder, count)
        try:
            evict_segments(folder, KEEP)
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    return has_died(child)


def main(base: Path) -> None:
    """Print the number of kills, the transitions after each, and the kills that changed the end result."""
    make_pool(base / "whole")
    shutil.copytree(base / "whole", base / "expected")
    evict_segments(base / "expected", KEEP)
    expected, folder = sha256_tree(base / "expected"), base / "killed"
    transitions: list[int] = []
    different: list[int] = []
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base / "whole", folder)
        if not is_killed(folder, len(transitions)):
            break
        transitions.append(ReplayPool.open(folder).check().transitions)
        evict_segments(folder, KEEP)
        if sha256_tree(folder) != expected:
            different.append(len(transitions) - 1)
    sys.stdout.write(json.dumps({"transitions": transitions, "different": different}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
