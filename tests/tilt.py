"""A guard of another package; guard_package.py installs this file's text."""

from typing import Literal

from pydantic import Field

from sacpipe.robot.guards.guard import ArmedGuard, Guard


class Tilt(Guard):
    """The first entry, a tilt, is above a limit."""

    name: Literal["tilt"]
    max_tilt: float = Field(gt=0, le=100)

    @classmethod
    def example(cls):
        return cls(name="tilt", fallback="stop", max_tilt=2.0)

    @classmethod
    def weakest(cls):
        return cls(name="tilt", fallback="stop", max_tilt=50.0)

    @classmethod
    def example_refused(cls, step, contract):
        step.observation.vector[0] = 3.0

    def arm(self, contract, period_s):
        return ArmedTilt(self.max_tilt)


class ArmedTilt(ArmedGuard):
    def __init__(self, max_tilt):
        self.max_tilt = max_tilt

    def refuses_observation(self, step):
        return bool(step.observation.vector[0] > self.max_tilt)
