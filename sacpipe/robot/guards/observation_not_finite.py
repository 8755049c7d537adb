"""The guard `observation_not_finite`: no entry of the observation is NaN or infinity."""

import math
from typing import ClassVar, Literal

import numpy as np

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts

_MAX_SUMMED = 512
"""Entries up to which Python's sum is faster than NumPy's test of every entry."""


class ObservationNotFinite(Guard):
    """An entry of the observation is NaN or infinity."""

    name: Literal["observation_not_finite"]
    discards_observation: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "last"}
    """Repeat the last action: a sensor may fail for some steps."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let one entry be NaN."""
        del contract
        step.observation.vector[-1] = np.nan

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard; it has no threshold."""
        del period_s
        return _ArmedSum() if contract.spec.observation_dim <= _MAX_SUMMED else _Armed()


class _ArmedSum(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        # Float32 cannot overflow a float64 sum: it is finite where all entries are.
        return not math.isfinite(sum(step.observation.vector.tolist()))


class _Armed(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        return not np.isfinite(step.observation.vector).all()
