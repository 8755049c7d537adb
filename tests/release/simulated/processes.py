"""Processes of one simulation: the seed says which goes on at each operation, and where one dies.

A process is a greenlet, so no two run at once and a run repeats itself. It pauses before an operation of
the world takes effect. What it does between two operations touches nothing outside of it.
"""

import hashlib
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from greenlet import getcurrent, greenlet


class Crash(BaseException):
    """The process was killed. Each later operation of it raises this again, so that no `finally` acts."""


class Trace:
    """The operations of a life, in order: their digest always, their text on request."""

    def __init__(self, *, keep: bool = False) -> None:
        self.lines: list[str] | None = [] if keep else None
        self.steps = 0
        self._digest = hashlib.sha256()

    def add(self, line: str) -> None:
        """Append an operation."""
        self.steps += 1
        self._digest.update(line.encode() + b"\n")
        if self.lines is not None:
            self.lines.append(f"{self.steps:7d} {line}")

    def digest(self) -> str:
        """Return the digest of all operations so far."""
        return self._digest.hexdigest()


NEVER = range(0)


@dataclass
class Faults:
    """What goes wrong in one command. A number counts the operations of the process since its start."""

    crash_at: int = 0
    """The operation before which the process dies; 0 for none."""
    partition: range = NEVER
    """Operations at which the registry does not answer."""
    is_answer_lost: float = 0.5
    """Share of those calls that take effect all the same."""
    disk: range = NEVER
    """Operations at which the disk is full or read-only."""
    git: range = NEVER
    """Operations at which git fails."""
    events: dict[int, list[Callable[[], None]]] = field(default_factory=dict)
    """What others do before an operation: a hand in the registry, a clock that jumps, a slow answer."""


class Process:
    """A process of one machine, started again for each command."""

    def __init__(self, simulation: "Simulation", name: str) -> None:
        self.simulation, self.name = simulation, name
        self.is_dead = False
        self.count = 0
        self.faults = Faults()
        self.proven: set[str] = set()
        """Digests of the bundles that this process has proven from the registry's bytes."""
        self.calls: list[str] = []
        """Names of its calls of the registry."""
        self.aliases: list[str | None] = []
        """Digest of what the champion's alias named at each look at the versions."""
        self.tags: dict[str, str] = {}
        """Tags of the policy at its last look."""
        self.latest_s = 0.0
        """Latest time that its clock has shown, in seconds since 1970."""
        self.written: list[str] = []
        """Paths of the files that it has written."""

    def start(self, faults: Faults) -> None:
        """Begin a new process in the place of the last."""
        self.is_dead, self.count, self.faults, self.proven = False, 0, faults, set()
        self.calls, self.aliases, self.tags, self.written, self.latest_s = [], [], {}, [], 0.0

    def require_alive(self) -> None:
        """Raise Crash in a process that was killed."""
        if self.is_dead:
            raise Crash

    def operation(self, text: str) -> None:
        """Pause before an operation takes effect: another process may go on, and this one may die."""
        self.require_alive()
        self.count += 1
        self.simulation.pause(self)
        for event in self.faults.events.pop(self.count, ()):
            event()
        self.simulation.trace.add(f"{self.name} {text}")
        self.simulation.seconds += 0.125
        if self.count == self.faults.crash_at:
            self.is_dead = True
            self.simulation.trace.add(f"{self.name} dies")
            raise Crash


@dataclass
class Outcome:
    """How a call in a process ended."""

    value: Any = None
    error: BaseException | None = None


class Simulation:
    """One seed: its random numbers, its trace, its time and its processes."""

    def __init__(self, seed: int, *, keep_trace: bool = False) -> None:
        self.random = random.Random(seed)  # noqa: S311
        self.trace = Trace(keep=keep_trace)
        self.seconds = 0.0
        """Time since the world began. Each clock shows it with an offset of its own."""
        self._running: dict[Process, greenlet] = {}
        self._scheduler: greenlet | None = None
        self._share = 0.3

    def run(self, calls: Mapping[Process, Callable[[], Any]]) -> dict[Process, Outcome]:
        """Run a call in each process, interleaved, until all have ended; return how each ended."""
        outcomes = {process: Outcome() for process in calls}
        if len(calls) == 1:
            for process, call in calls.items():
                self._end(outcomes[process], call)
            return outcomes
        self._scheduler, self._share = getcurrent(), self.random.choice((0.05, 0.3, 1.0))
        for process, call in calls.items():
            self._running[process] = greenlet(self._body(process, outcomes[process], call))
        while self._running:
            self.random.choice(list(self._running.values())).switch()
        self._scheduler = None
        return outcomes

    def pause(self, process: Process) -> None:
        """Let the seed decide whether another process goes on first."""
        if self._scheduler is not None and len(self._running) > 1 and self.random.random() < self._share:
            self._scheduler.switch()

    def _body(self, process: Process, outcome: Outcome, call: Callable[[], Any]) -> Callable[[], None]:
        def body() -> None:
            self._end(outcome, call)
            del self._running[process]

        return body

    def _end(self, outcome: Outcome, call: Callable[[], Any]) -> None:
        try:
            outcome.value = call()
        except (Exception, Crash) as exc:  # noqa: BLE001
            outcome.error = exc
