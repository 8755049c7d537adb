"""A control loop around the runtime: deadlines that do not drift, and what became of them.

The n-th step is due n periods after the first, whatever the steps before it took. A step that wakes
more than a period late has missed its deadline: the loop counts the deadlines that have passed, and goes
on with the last of them at once. It never runs two steps at once to catch up.

A processor that has slept for two milliseconds is slow to wake, and its caches are cold: a step then takes
five times as long as it needs. So the loop is awake a little before a step is due, runs the policy
once for nothing, and waits the rest out without sleeping.
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
from sacpipe.robot.decision import Decision, Observation
from sacpipe.robot.runtime import Runtime

AWAKE_S = 300e-6
"""How long before a step is due the loop is awake, by default."""

_KEPT = 1_000_000
"""Steps whose times are kept; of a longer run, the last ones."""
_SWITCH_S = 100e-6
"""How long another thread of the process may keep Python's lock, which is 5 ms elsewhere."""


class Robot(Protocol):
    """What the loop drives. Both methods are called from the loop's own thread and must not wait."""

    def observe(self) -> tuple[Observation, int]:
        """Return the newest observation and its stamp, in nanoseconds of the runtime's clock."""

    def execute(self, decision: Decision) -> bool:
        """Execute an action; return False to end the loop."""


class Spread(Config):
    """Microseconds."""

    p50: float
    p99: float
    p999: float
    largest: float

    @classmethod
    def of(cls, nanoseconds: NDArray[np.int64]) -> "Spread":
        """Describe some times."""
        p50, p99, p999, largest = np.percentile(nanoseconds / 1e3, [50.0, 99.0, 99.9, 100.0]).tolist()
        return cls(p50=p50, p99=p99, p999=p999, largest=largest)


class LoopReport(Config):
    """What became of a loop's deadlines."""

    steps: int = Field(ge=1)
    missed: int = Field(ge=0)
    """Deadlines that were left out."""
    period_s: float
    lateness_us: Spread
    """From a step's due time to its beginning: the operating system's part."""
    step_us: Spread
    """Of the runtime's steps."""
    verdicts: dict[str, int]
    causes: dict[str, int]
    """Those that occurred."""


class Clock(NamedTuple):
    """What the loop lives by."""

    now_ns: Callable[[], int]
    """As the runtime's."""
    sleep: Callable[[float], None]
    """Waits for so many seconds."""


MONOTONIC = Clock(time.monotonic_ns, time.sleep)


def run_loop(
    runtime: Runtime,
    robot: Robot,
    *,
    period_s: float,
    max_steps: int,
    awake_s: float = AWAKE_S,
    clock: Clock = MONOTONIC,
) -> LoopReport:
    """Drive a robot until it says no, or for so many steps.

    Args:
        runtime: Its counters go on from where they are; the report has this run's.
        robot: What is driven.
        period_s: Between two steps.
        max_steps: At least 1.
        awake_s: How long before a step is due the loop is awake; 0 to sleep until then, which spares
            processor time and costs latency.
        clock: As the runtime's.
    """
    clock_ns, sleep = clock
    times = np.zeros((2, min(max_steps, _KEPT)), dtype=np.int64)
    verdicts, causes = dict(runtime.verdicts), dict(runtime.causes)
    period_ns, awake_ns = round(period_s * 1e9), round(awake_s * 1e9)
    steps = missed = 0
    is_on = True
    with undisturbed():
        due_ns = clock_ns()
        while is_on and steps < max_steps:
            if (wait_ns := due_ns - awake_ns - clock_ns()) > 0:
                sleep(wait_ns / 1e9)
                if awake_ns:
                    runtime.warm_up()
            while clock_ns() < due_ns:
                pass
            late_ns = clock_ns() - due_ns
            observation, stamp_ns = robot.observe()
            decision = runtime.step(observation, stamp_ns)
            is_on = robot.execute(decision)
            slot = steps % times.shape[1]
            times[0, slot], times[1, slot] = late_ns, decision.timings.step_ns
            steps += 1
            due_ns += period_ns
            if (behind := (clock_ns() - due_ns) // period_ns) > 0:
                missed += behind
                due_ns += behind * period_ns
    kept = times[:, :steps]
    return LoopReport(
        steps=steps,
        missed=missed,
        period_s=period_s,
        lateness_us=Spread.of(kept[0]),
        step_us=Spread.of(kept[1]),
        verdicts={name: count - verdicts[name] for name, count in runtime.verdicts.items()},
        causes={name: count - causes[name] for name, count in runtime.causes.items() if count > causes[name]},
    )


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Keep Python itself from making a step late by milliseconds.

    Garbage is collected once, and then not again; other threads of the process must let go of Python's lock
    soon after they are asked to.
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
    """Run this thread before every ordinary one of the machine.

    Args:
        priority: Of Linux's SCHED_FIFO, 1 to 99; the kernel's own interrupts have 50.

    Raises:
        ConfigError: this system has no such thing, or does not allow it.
    """
    if not hasattr(os, "sched_setscheduler"):
        raise ConfigError("priority: this system has no realtime scheduling. Leave it out.")
    before, setting = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as exc:
        raise ConfigError(
            f"priority: expected 1 to 99 and leave to use it, found {priority}: {exc}. Run with CAP_SYS_NICE "
            "(`docker run --cap-add SYS_NICE`, or an rtprio limit), or leave it out."
        ) from exc
    try:
        yield
    finally:
        os.sched_setscheduler(0, before, setting)
