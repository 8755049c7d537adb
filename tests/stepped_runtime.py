"""A runtime whose clock a test moves: one observation a control period."""

import numpy as np
from guard_factories import make_settings

from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime

PERIOD_NS = 20_000_000
MS = 1_000_000


class Clock:
    """A clock that a test moves, and that may advance at each reading."""

    def __init__(self):
        self.now_ns, self.each_look_ns = 10**12, 0

    def __call__(self):
        self.now_ns += self.each_look_ns
        return self.now_ns


def observation(*values) -> np.ndarray:
    return np.array(values, np.float32)


def make_runtime(folder, guards=None, **changes) -> tuple[Runtime, Clock]:
    clock = Clock()
    return Runtime(OnnxPolicy(folder), settings=make_settings(guards, **changes), clock_ns=clock), clock


def go(runtime, clock, seen, passed_ns=PERIOD_NS, age_ns=0):
    """One control period later, show an observation of some age."""
    clock.now_ns += passed_ns
    return runtime.step(seen, clock.now_ns - age_ns)


CALM = observation(0.5, 0.25, 0.0)  # acts (1.25, 2.5)
