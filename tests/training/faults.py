"""Kills a training run, fills its disk, cuts its power and tears its files at random moments; prints a report.

    python tests/training/faults.py FOLDER SEED FAULTS KIND...

Not a test itself: test_faults.py runs it in a process of its own, because it forks and exits hard. A case
is one run, started again after every fault until it publishes, and its outputs must have the bytes of a
run that was left alone. No start may begin before a checkpoint that an earlier one had completed, except
where that checkpoint was torn. Cases draw from generators of their own: `KIND:7` repeats the eighth.
"""

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # before torch reads them

import numpy as np
import torch
from test_loop import Onlooker, make_params
from watched_disk import Disk, Fault, Memory, refuse

from sacpipe.core.errors import SacpipeError, StorageError
from sacpipe.core.files import sha256_tree
from sacpipe.training.loop import Run, train

KINDS = ("kill", "term", "operation", "full", "torn", "power")
"""`kill`: SIGKILL by the clock. `term`: SIGTERM by the clock. `operation`: SIGKILL before, in or after a file
operation. `full`: from one operation on, the disk or the size of a file is at its limit. `torn`: as
`operation`, then a file is cut or changed. `power`: as `operation`, then unsynced bytes and names are lost.
`mixed` draws among them at every start."""
WORK, OUT = "work/key", "out/train"
MOST_STARTS = 6
"""Of one case; the last is left alone."""
LARGEST_FILE = 12_000
"""Bytes; the arrays of a checkpoint have about as many."""


@dataclass
class Start:
    """What became of one process."""

    code: int = 0
    """Exit code; minus the signal's number where it was killed."""
    began: int | None = None
    """Step it continued from."""
    checkpoint: int = -1
    """Step of the last checkpoint it completed."""
    checkpoints: int = 0
    operations: int = 0
    error: str = ""
    duration_s: float = 0.0


@dataclass
class Tally:
    """The report."""

    counts: Counter[str] = field(default_factory=Counter)
    different: list[str] = field(default_factory=list)
    """Cases whose outputs were other bytes."""
    lost: list[str] = field(default_factory=list)
    """Cases in which a start began before a completed checkpoint."""
    failed: list[str] = field(default_factory=list)
    """Cases in which a process ended otherwise than its fault explains."""
    leftovers: list[str] = field(default_factory=list)
    """Cases that left temporary files behind."""


class ToldRun(Run):
    """A run that tells of its checkpoints."""

    tell: Callable[..., None]

    def checkpoint(self) -> None:
        super().checkpoint()
        self.tell(checkpoint=self.env_steps)


def work(folder: Path, tell: Callable[..., None]) -> int:
    """Train and publish as the stage does; return the exit code."""
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
    tell(ready=True)
    onlooker = Onlooker()
    try:
        run = ToldRun(make_params(), folder / WORK, "key")
        run.tell = tell
        tell(began=run.env_steps)
        try:
            train(run, lambda: bool(stopped), onlooker)
            run.publish(folder / OUT)
        finally:
            run.close()
    except SacpipeError as exc:
        tell(error=f"{type(exc).__name__}: {exc}")
        return exc.exit_code
    return 0


def child(folder: Path, disk: Disk | None, sender: int) -> None:
    """Be the process that is started; never return."""

    def tell(**what: object) -> None:
        os.write(sender, (json.dumps(what) + "\n").encode())

    code = 1
    try:
        if disk is not None:
            disk.watch()
        code = work(folder, tell)
        tell(operations=disk.count if disk is not None else 0)
    except BaseException:
        tell(error=traceback.format_exc())
    finally:
        os._exit(code)


def start(
    folder: Path, disk: Disk | None = None, sent: int | None = None, after_s: float | None = None
) -> Start:
    """Start a process, send it a signal so many seconds after it is ready, and wait for its end."""
    reader, sender = os.pipe()
    process = os.fork()
    if process == 0:
        child(folder, disk, sender)
    os.close(sender)
    result, lines = Start(), b""
    due = began = None
    while True:
        left = None if due is None else max(0.0, due - time.monotonic())
        if not select.select([reader], [], [], left)[0]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sent)
            due = None
            continue
        data = os.read(reader, 1 << 16)
        if not data:
            break
        if began is None:
            began = time.monotonic()
            due = None if after_s is None else began + after_s
        lines += data
    os.close(reader)
    result.code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    result.duration_s = time.monotonic() - (began or time.monotonic())
    for line in lines.splitlines():
        told = json.loads(line)
        result.checkpoints += "checkpoint" in told
        for name in ("began", "checkpoint", "operations", "error"):
            setattr(result, name, told.get(name, getattr(result, name)))
    return result


class Trial:
    """Draws faults, starts runs and compares."""

    def __init__(self, base: Path, seed: int) -> None:
        self.base, self.seed, self.tally = base, seed, Tally()
        whole = base / "whole"
        whole.mkdir(parents=True)
        alone = start(whole, Disk())
        self.operations, self.duration_s = alone.operations, alone.duration_s
        self.expected = sha256_tree(whole / OUT)
        if alone.code != 0:
            raise RuntimeError(alone.error)

    def case(self, kind: str, number: int) -> int:
        """Take one run through its faults; return how many it met."""
        name = f"{kind}:{number}"
        generator = np.random.Generator(np.random.PCG64([self.seed, (*KINDS, "mixed").index(kind), number]))
        folder = self.base / "case"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        self.memory(folder, generator, forget=True)
        met, promised, ends = 0, 0, int(generator.integers(1, MOST_STARTS))
        for turn in range(MOST_STARTS):
            sort = kind if kind != "mixed" else KINDS[generator.integers(len(KINDS))]
            sort = "none" if turn == ends else sort
            result, is_met = self.faulty(sort, folder, generator)
            self.tally.counts.update(
                starts=1, faults=is_met, checkpoints=result.checkpoints, segments=_segments(folder)
            )
            met += is_met
            self.judge(name, turn, sort, result, promised)
            promised = 0 if sort == "torn" else max(promised, result.began or 0, result.checkpoint)
            if result.code == 0:
                break
        self.compare(name, folder)
        self.tally.counts["cases"] += 1
        return met

    def faulty(self, sort: str, folder: Path, generator: np.random.Generator) -> tuple[Start, bool]:
        """Start once with a fault of a sort; return what became of it, and whether it met the fault."""
        if sort == "none":
            return start(folder), False
        if sort in ("kill", "term"):
            self.kept.unlink(missing_ok=True)
            number = signal.SIGKILL if sort == "kill" else signal.SIGTERM
            result = start(folder, None, number, float(generator.uniform(0.0, 1.1 * self.duration_s)))
            return result, result.code != 0
        disk = self.disk(sort, folder, generator)
        result = start(folder, disk)
        if sort == "torn" and result.code != 0:
            tear(folder / WORK, generator)
        if sort == "power" and result.code != 0 
        return result, result.code != 0


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
