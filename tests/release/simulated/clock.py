"""The clock of a machine, which may jump, and random numbers."""

import random
from datetime import UTC, datetime, timedelta

from simulated.processes import Process

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


class SimulatedClock:
    """The clock of one machine. Another machine's clock has another offset."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.offset = 0.0
        """Seconds that it is ahead of the world's time."""

    def now(self) -> datetime:
        """Return what the clock shows."""
        self._process.require_alive()
        shown = _BEGIN + timedelta(seconds=self._process.simulation.seconds + self.offset)
        self._process.latest_s = max(self._process.latest_s, shown.timestamp())
        return shown

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self._process.operation(f"sleep {seconds:g}")
        self._process.simulation.seconds += seconds


class SimulatedRandom:
    """Random numbers of one machine, from the life's seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311

    def token(self) -> str:
        """Return 32 hexadecimal digits."""
        return f"{self._random.getrandbits(128):032x}"
