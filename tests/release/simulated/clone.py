"""One clone of the project with its machine, and the faults that the seed draws for it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from sacpipe.release.releases import Releases
from sacpipe.release.world import World
from simulated.clock import SimulatedClock, SimulatedRandom
from simulated.disk import SimulatedDisk
from simulated.git import Remote, SimulatedGit
from simulated.oracle import MODEL
from simulated.processes import NEVER, Faults, Process, Simulation
from simulated.registry import SimulatedRegistry
from simulated.store import Store


class Clone:
    """An operator's machine: a clone of the repository, and a client of the registry."""

    def __init__(self, simulation: Simulation, store: Store, remote: Remote, name: str) -> None:
        self.process = Process(simulation, name)
        self.clock = SimulatedClock(self.process)
        self.disk = SimulatedDisk(self.process)
        self.git = SimulatedGit(self.process, self.disk, remote)
        registry = SimulatedRegistry(store, self.process)
        token = SimulatedRandom(simulation.random.getrandbits(64))
        self.releases = Releases(
            World(self.clock, self.disk, self.git, token, registry, lambda _, record: registry.prove(record)),
            MODEL,
        )
        self.longest = 40
        """Most operations that a command of this clone has made: faults are drawn among as many."""
        self.seen: list[str] = []
        """Digests of the records of the history when it was last looked at, in order."""


@dataclass
class Weather:
    """How often each kind of fault comes in one life. A life has some kinds and not others."""

    crash: float = 0.0
    power: float = 0.0
    """Share of crashes that stop the machine; the others kill the process, and the disk stays."""
    partition: float = 0.0
    disk: float = 0.0
    git: float = 0.0
    clock: float = 0.0
    slow: float = 0.0
    hand: float = 0.0
    damage: float = 0.0

    @classmethod
    def draw(cls, choice: random.Random) -> "Weather":
        """Return the weather of a life."""

        def rate(most: float) -> float:
            return choice.choice((0.0, most / 3, most))

        return cls(
            crash=rate(0.6),
            power=choice.choice((0.0, 0.5, 1.0)),
            partition=rate(0.3),
            disk=rate(0.15),
            git=rate(0.1),
            clock=rate(0.1),
            slow=rate(0.15),
            hand=rate(0.1),
            damage=rate(0.06),
        )

    def faults(self, clone: Clone, hand: Callable[[], None], damage: Callable[[], None]) -> Faults:
        """Draw what goes wrong in one command of a clone."""
        simulation = clone.process.simulation
        choice, faults = simulation.random, Faults()

        def slow() -> None:
            simulation.seconds += choice.choice((2.0, 30.0, 700.0))

        def jump() -> None:
            clone.clock.offset = choice.choice((0.0, -90_000.0, -5.0, 5.0, 3_600.0, 90_000.0))

        if choice.random() < self.crash:
            faults.crash_at = _operation(clone)
        faults.partition = _operations(clone, self.partition)
        faults.disk = _operations(clone, self.disk)
        faults.git = _operations(clone, self.git)
        faults.is_answer_lost = choice.choice((0.0, 0.5, 1.0))
        for rate, event in ((self.slow, slow), (self.clock, jump), (self.hand, hand), (self.damage, damage)):
            if choice.random() < rate:
                faults.events.setdefault(_operation(clone), []).append(event)
        return faults


def _operation(clone: Clone) -> int:
    """Draw one of the operations that a command of the clone makes."""
    return 1 + clone.process.simulation.random.randrange(clone.longest)


def _operations(clone: Clone, rate: float) -> range:
    """Draw some operations in a row, or none."""
    choice = clone.process.simulation.random
    if choice.random() >= rate:
        return NEVER
    begin = _operation(clone)
    return range(begin, begin + choice.choice((1, 2, 5, 200)))
