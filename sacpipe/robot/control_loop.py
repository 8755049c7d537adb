"""A control loop around the runtime, with absolute deadlines that do not drift, and a report about them.

Step n is due n periods after the first step, whatever the steps before it took. Where deadlines have passed
when a step ends, the loop counts them as missed, except the last one, for which it makes the next step at
once. It never makes two steps at once to catch up.

A processor that slept for two milliseconds wakes slowly and has cold caches: a step then takes five times as
long. So the loop stops sleeping a little before a step is due, runs the policy once as a warm-up, and
busy-waits the rest.

Where the loop itself came so late that the watchdog had to stop the robot, the step executes the stop.
"""

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.robot.decision import Decision, GivenObservation, Stamps
from sacpipe.robot.runtime import Runtime

BUSY_WAIT_S = 300e-6
"""Default of `run_loop(busy_wait_s=...)`, in seconds."""

_MAX_TIMED_STEPS = 1_000_000
"""Number of steps whose times are kept; of a longer run, those of the last steps."""
_SWITCH_S = 100e-6
"""Time after which another thread must release Python's global interpreter lock, in seconds; Python's default
is 5 ms."""


class Robot(Protocol):
    """What the loop drives. The loop's own thread calls both methods; they must not wait."""

    def observe(self) -> tuple[GivenObservation, Stamps]:
        """Return the newest observation and its stamp, or those of its terms, by the runtime's clock."""

    def execute(self, decision: Decision) -> bool:
        """Execute an action; return False to end the loop."""


class Percentiles(Config):
    """Percentiles of durations, in microseconds."""

    p50: float
    p99: float
    p999: float
    largest: float

    @classmethod
    def of(cls, nanoseconds: NDArray[np.int64]) -> "Percentiles":
        """Compute the percentiles of durations in nanoseconds."""
        p50, p99, p999, largest = np.percentile(nanoseconds / 1e3, [50.0, 99.0, 99.9, 100.0]).tolist()
        return cls(p50=p50, p99=p99, p999=p999, largest=largest)


class LoopReport(Config):
    """Result of one run of the loop."""

    steps: int = Field(ge=1)
    missed: int = Field(ge=0)
    """Number of deadlines at which no step was made."""
    period_s: float
    lateness_us: Percentiles
    """Time from a step's deadline to its start, in microseconds: the operating system's part."""
    step_us: Percentiles
    """Duration of the runtime's steps, in microseconds."""
    verdicts: dict[str, int]
    causes: dict[str, int]
    """Number of steps by cause; only causes that occurred."""


class Clock(NamedTuple):
    """Time source of the loop. Tests replace it."""

    now_ns: Callable[[], int]
    """Reads the runtime's clock, in nanoseconds."""
    sleep: Callable[[float], None]
    """Sleeps for a number of seconds."""


MONOTONIC = Clock(time.monotonic_ns, time.sleep)


class _Deadlines:
    """Absolute deadlines, one each period. The first is now."""

    def __init__(self, clock: Clock, period_s: float, busy_wait_s: float) -> None:
        self._clock_ns, self._sleep = clock
        self._period_ns, self._busy_wait_ns = round(period_s * 1e9), round(busy_wait_s * 1e9)
        self._due_ns = self._clock_ns()
        self.missed = 0

    def wait(self, warm_up: Callable[[], None]) -> int:
        """Wait for the next deadline and return how late it is now, in nanoseconds.

        Args:
            warm_up: Called after the sleep and before the busy-wait.
        """
        clock_ns, due_ns = self._clock_ns, self._due_ns
        if (wait_ns := due_ns - self._busy_wait_ns - clock_ns()) > 0:
            self._sleep(wait_ns / 1e9)
            if self._busy_wait_ns:
                warm_up()
        while clock_ns() < due_ns:
            pass
        return clock_ns() - due_ns

    def advance(self) -> None:
        """Set the next deadline: one period later, or the last one that has passed."""
        self._due_ns += self._period_ns
        if (behind := (self._clock_ns() - self._due_ns) // self._period_ns) > 0:
            self.missed += behind
            self._due_ns += behind * self._period_ns


def run_loop(
    runtime: Runtime,
    robot: Robot,
    *,
    period_s: float,
    max_steps: int,
    busy_wait_s: float = BUSY_WAIT_S,
    clock: Clock = MONOTONIC,
) -> LoopReport:
    """Drive a robot until it ends the loop, or for `max_steps` steps.

    Args:
        runtime: Decides the actions. The report counts this run alone, even where the runtime ran before.
        robot: Gives the observations and executes the actions.
        period_s: Time between two steps, in seconds.
        max_steps: At least 1.
        busy_wait_s: Time before each deadline that is busy-waited, not slept, in seconds. 0 sleeps until
            the deadline, which saves processor time and costs latency.
        clock: The runtime's clock.
    """
    times = np.zeros((2, min(max_steps, _MAX_TIMED_STEPS)), dtype=np.int64)
    verdicts, causes = dict(runtime.verdicts), dict(runtime.causes)
    steps, is_on = 0, True
    with no_interpreter_pauses():
        deadlines = _Deadlines(clock, period_s, busy_wait_s)
        while is_on and steps < max_steps:
            late_ns = deadlines.wait(runtime.warm_up)
            runtime.check_watchdog(clock.now_ns())  # the step then executes its stop
            observation, stamp_ns = robot.observe()
            decision = runtime.step(observation, stamp_ns)
            is_on = robot.execute(decision)
            slot = steps % times.shape[1]
            times[0, slot], times[1, slot] = late_ns, decision.timings.step_ns
            steps += 1
            deadlines.advance()
    return LoopReport(
        steps=steps,
        missed=deadlines.missed,
        period_s=period_s,
        lateness_us=Percentiles.of(times[0, :steps]),
        step_us=Percentiles.of(times[1, :steps]),
        verdicts={name: count - verdicts[name] for name, count in runtime.verdicts.items()},
        causes={
            name: count - causes.get(name, 0)
            for name, count in runtime.causes.items()
            if count > causes.get(name, 0)
        },
    )


@contextlib.contextmanager
def no_interpreter_pauses() -> Iterator[None]:
    """Keep Python itself from making a step late by milliseconds.

    Garbage is collected once, and then not again until the block ends. Other threads of the process must
    release the global interpreter lock 0.1 ms after this thread asks for it.
    """
    was_enabled, switch_s = gc.isenabled(), sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH_S)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        sys.setswitchinterval(switch_s)
        gc.unfreeze()
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def realtime_priority(priority: int) -> Iterator[None]:
    """Run this thread before every thread of the machine that has no realtime priority.

    Args:
        priority: Priority of Linux's SCHED_FIFO, 1 to 99; the kernel's own interrupt threads have 50.

    Raises:
        ConfigError: this system has no realtime scheduling, or does not allow it.
    """
    if not hasattr(os, "sched_setscheduler"):
        raise ConfigError(
            "priority: expected a system with realtime scheduling, found one without. Leave the priority out."
        )
    before, setting = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as exc:
        raise ConfigError(
            f"priority: expected 1 to 99 and the permission for it, found {priority}: {exc}. Run with "
            "CAP_SYS_NICE (`docker run --cap-add SYS_NICE`, or an rtprio limit), or leave it out."
        ) from exc
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, setting)
