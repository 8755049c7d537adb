"""Kills a training run, fills its disk, tears its files and cuts its power, at random moments; prints a report.

    python tests/training/faults.py [--environments K] FOLDER SEED FAULTS KIND...

Not a test itself: test_faults.py runs it in a process of its own, because it forks and exits hard. A case
is one run, started again after every fault until it publishes; its outputs must have the bytes of a run
that was left alone. No start may begin before a checkpoint that an earlier one completed, except where
files were torn. Each case draws from a generator of its own: the KIND `power:7` is its case 7 alone.
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

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch
from folder_digest import sha256_tree
from small_run import PARAMS as POINT_MASS
from small_run import Onlooker, make_params
from threadpoolctl import threadpool_limits
from watched_disk import Disk, Fault, Memory, refuse

from sacpipe.core.errors import SacpipeError
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

KINDS = ("kill", "term", "operation", "full", "torn", "power", "mixed")
"""`kill`: SIGKILL by the clock. `term`: SIGTERM by the clock. `operation`: SIGKILL before, in or after a file
operation. `full`: from an operation on, the disk is full or files may not grow further. `torn`: as
`operation`, then a file is cut, changed or removed. `power`: as `operation`, then most times what was not
synced is lost. `mixed`: one of these at every start."""
EXPECTED = {
    "kill": (-signal.SIGKILL, ""),
    "term": (3, "InterruptedRunError: training was asked to stop"),
    "operation": (-signal.SIGKILL, ""),
    "full": (2, "StorageError: cannot write"),
    "torn": (-signal.SIGKILL, ""),
    "power": (-signal.SIGKILL, ""),
    "none": (0, ""),
}
"""How a start ends that meets its fault: exit code and what it says."""
WORK, OUT = Path("work", "key"), Path("out", "train")
MOST_FAULTS = 5
"""In one case."""
LARGEST_FILE_BYTES = 12_000


def params_of(num_environments: int) -> TrainParams:
    """150 steps, a checkpoint after every 30, a segment after every 40; the rest is as short as it can be.

    Several environments choose the actions of a round before the last updates, so that a checkpoint has them.
    """
    training = {"evaluation_episodes": 1, "num_environments": num_environments}
    training["policy_lag_rounds"] = int(num_environments > 1)
    return make_params(
        task=POINT_MASS["task"] | {"options": {"max_episode_steps": 20}},
        training=POINT_MASS["training"] | training,
    )


@dataclass
class Start:
    """What became of one process."""

    code: int = 0
    """Exit code; minus the signal's number where one killed it."""
    began: int | None = None
    """Step it continued from."""
    checkpoint: int = -1
    """Step of the last checkpoint it completed."""
    checkpoints: int = 0
    operations: int = 0
    error: str = ""
    duration_s: float = 0.0


@dataclass
class Report:
    """What the program prints. A case is named as it is asked for."""

    seed: int
    faults: Counter[str] = field(default_factory=Counter)
    """By what happened."""
    counts: Counter[str] = field(default_factory=Counter)
    """Cases, starts, checkpoints they completed, sealed segments that existed when one ended."""
    different: list[str] = field(default_factory=list)
    """Cases whose outputs were other bytes."""
    lost: list[str] = field(default_factory=list)
    """Cases in which a start began before a completed checkpoint."""
    failed: list[str] = field(default_factory=list)
    """Cases in which a start ended as its fault does not explain, and what it said."""
    leftovers: list[str] = field(default_factory=list)
    """Cases that left temporary files behind."""
    operations: int = 0
    """Of a run that is left alone."""
    duration_s: float = 0.0


def main(base: Path, seed: int, faults: int, kinds: list[str], num_environments: int) -> None:
    """Take cases of each kind until they met so many faults; print the report."""
    began = time.monotonic()
    torch.set_num_threads(1)
    threadpool_limits(1)
    trial = Trial(base, seed, params_of(num_environments))
    for kind, _, number in (name.partition(":") for name in kinds):
        if number:
            trial.case(kind, int(number))
            continue
        met = case = 0
        while met < faults:
            met += trial.case(kind, case)
            case += 1
    trial.report.duration_s = round(time.monotonic() - began, 1)
    sys.stdout.write(json.dumps(vars(trial.report), indent=2) + "\n")


class Trial:
    """Draws faults, starts runs and compares what they publish."""

    def __init__(self, base: Path, seed: int, params: TrainParams) -> None:
        self._params = params
        self._folder, self._kept = base / "case", base / "memory.json"
        self._seed, self.report = seed, Report(seed)
        (base / "alone").mkdir(parents=True)
        alone = start(base / "alone", params, disk=Disk())
        if alone.code != 0:
            raise RuntimeError(alone.error)
        self._expected = sha256_tree(base / "alone" / OUT)
        self._duration_s, self.report.operations = alone.duration_s, alone.operations

    def case(self, kind: str, number: int) -> int:
        """Take one run through its faults to its end; return how many it met."""
        generator = np.random.Generator(np.random.PCG64([self._seed, KINDS.index(kind), number]))
        self._prepare()
        name, promised, met = f"{kind}:{number}", 0, 0
        sorts = [_sort(kind, generator) for _ in range(generator.integers(1, MOST_FAULTS + 1))]
        for sort in (*sorts, "none"):
            result = self._start(sort, generator)
            self._check_start(name, sort, result, promised)
            began = promised if result.began is None else result.began
            promised = 0 if sort == "torn" else max(min(promised, began), result.checkpoint)
            if result.code == 0:
                break
            met += 1
        self._compare(name)
        return met

    def _prepare(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._kept.unlink(missing_ok=True)
        self._folder.mkdir()

    def _start(self, sort: str, generator: np.random.Generator) -> Start:
        """Start the run once, with a fault of a sort."""
        if sort in ("kill", "term", "none"):
            self._kept.unlink(missing_ok=True)  # nothing is watched: the files count as synced
            after_s = None if sort == "none" else float(generator.uniform(0.0, self._duration_s))
            sent = signal.SIGTERM if sort == "term" else signal.SIGKILL
            return start(self._folder, self._params, sent=sent, after_s=after_s)
        memory = Memory(self._folder, self._kept)
        disk = Disk(draw(sort, self.report.operations, generator), memory)
        result = start(self._folder, self._params, disk=disk)
        if sort == "torn" and result.code != 0:
            tear(self._folder / WORK, generator)
            self._kept.unlink(missing_ok=True)
        if sort == "power" and result.code != 0:
            Memory(self._folder, self._kept).cut(generator)
        return result

    def _check_start(self, name: str, sort: str, result: Start, promised: int) -> None:
        report = self.report
        segments = len(list((self._folder / WORK / "pool").glob("segment-*")))
        report.counts.update(starts=1, checkpoints=result.checkpoints, segments=segments)
        report.faults.update({sort: int(result.code != 0)})
        code, message = EXPECTED[sort]
        if result.code not in (0, code) or (result.code == code and not result.error.startswith(message)):
            report.failed.append(f"{name}: {sort} ended with {result.code}: {result.error}")
        if result.began is not None and result.began < promised:
            report.lost.append(f"{name}: began at {result.began} after a checkpoint at {promised}")

    def _compare(self, name: str) -> None:
        report = self.report
        report.counts.update(cases=1)
        if sha256_tree(self._folder / OUT) != self._expected:
            report.different.append(name)
        hidden = [str(path.relative_to(self._folder)) for path in self._folder.rglob(".*")]
        if hidden:
            report.leftovers.append(f"{name}: {', '.join(hidden)}")


def _sort(kind: str, generator: np.random.Generator) -> str:
    """Draw what happens to one start."""
    if kind == "mixed":
        return KINDS[generator.integers(len(KINDS) - 1)]
    return "operation" if kind == "power" and generator.random() < 0.3 else kind


def draw(sort: str, operations: int, generator: np.random.Generator) -> Fault:
    """Draw where a fault happens and what it does there."""
    at = int(generator.integers(operations))
    if sort != "full":
        return Fault(at, ("before", "part", "after")[generator.integers(3)], die)
    if generator.random() < 0.5:
        return Fault(at, ("before", "part")[generator.integers(2)], refuse, lasts=True)
    size_bytes = int(generator.integers(LARGEST_FILE_BYTES))
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    return Fault(at, "before", lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (size_bytes, hard)))


def die(_operation: str) -> None:
    """End like `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def tear(folder: Path, generator: np.random.Generator) -> None:
    """Cut, change or remove one file of a run: any but the text files, which are only cut."""
    newest = sorted(folder.glob("checkpoints/step-*"))[-1:]
    places = [*(path for step in newest for path in sorted(step.iterdir()))]
    places += sorted(folder.glob("pool/*")) + sorted(folder.glob("*.jsonl")) + sorted(folder.glob("*.csv"))
    path = places[generator.integers(len(places))] if places else None
    if path is None or not path.stat().st_size:
        return
    data = bytearray(path.read_bytes())
    how = 0 if path.suffix in (".jsonl", ".csv") else generator.integers(3)
    path.unlink()  # segments are read-only
    if how == 0:
        path.write_bytes(data[: generator.integers(len(data))])
    elif how == 1:
        data[generator.integers(len(data))] ^= 1 << int(generator.integers(8))
        path.write_bytes(data)


def start(
    folder: Path,
    params: TrainParams,
    *,
    disk: Disk | None = None,
    sent: int = signal.SIGKILL,
    after_s: float | None = None,
) -> Start:
    """Start the run in a process of its own, send it a signal so long after it is ready, wait for its end."""
    reader, sender = os.pipe()
    process = os.fork()
    if process == 0:
        _be_child(folder, params, disk, sender)
    os.close(sender)
    with os.fdopen(reader, "rb", buffering=0) as pipe:
        lines = pipe.read(1 << 16)
        begin = time.monotonic()
        if after_s is not None:
            lines += _listen(pipe, begin + after_s)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, sent)
        lines += pipe.readall()
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return _reported(lines, Start(code=code, duration_s=time.monotonic() - begin))


def _listen(pipe, until: float) -> bytes:
    """Read what comes until a moment of the monotonic clock."""
    lines = b""
    while (left := until - time.monotonic()) > 0 and select.select([pipe], [], [], left)[0]:
        if not (data := pipe.read(1 << 16)):
            break
        lines += data
    return lines


def _reported(lines: bytes, result: Start) -> Start:
    for line in lines.splitlines():
        report = json.loads(line)
        result.checkpoints += "checkpoint" in report
        for name, value in report.items():
            setattr(result, name, value)
    return result


def _be_child(folder: Path, params: TrainParams, disk: Disk | None, sender: int) -> None:
    def tell(**what: object) -> None:
        os.write(sender, (json.dumps(what) + "\n").encode())

    code = 1
    try:
        code = _work(folder, params, disk, tell)
    except Exception:  # noqa: BLE001 - reported to the parent, which names the case
        tell(error=traceback.format_exc())
    finally:
        os._exit(code)


def _work(folder: Path, params: TrainParams, disk: Disk | None, tell: Callable[..., None]) -> int:
    """Train and publish as the stage does; return the exit code."""
    stops: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stops.append(number))
    tell(began=None)
    if disk is not None:
        disk.watch()
    try:
        _train(folder, params, lambda: bool(stops), tell)
    except SacpipeError as exc:
        tell(error=f"{type(exc).__name__}: {exc}")
        return exc.exit_code
    finally:
        if disk is not None:
            tell(operations=disk.count)
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            disk.keep()
    return 0


def _train(
    folder: Path, params: TrainParams, should_stop: Callable[[], bool], tell: Callable[..., None]
) -> None:
    run = open_run(params, folder / WORK, "key")
    write = run.checkpoint

    def checkpoint() -> None:
        write()
        tell(checkpoint=run.env_steps)

    run.checkpoint = checkpoint
    try:
        tell(began=run.env_steps)
        train(run, should_stop, Onlooker())
        publish(run, folder / OUT)
    finally:
        run.close()


if __name__ == "__main__":
    arguments = sys.argv[1:]
    count = int(arguments[1]) if arguments[0] == "--environments" else 1
    folder, seed, faults, *kinds = arguments[2:] if arguments[0] == "--environments" else arguments
    main(Path(folder), int(seed), int(faults), kinds, count)
