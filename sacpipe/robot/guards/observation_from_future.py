"""The guard `observation_from_future`: no stamp is far ahead of the robot's clock."""

from typing import ClassVar, Literal

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_PERIODS
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts, nanoseconds


class ObservationFromFuture(Guard):
    """A stamp is later than now, by more than `max_future_periods`."""

    name: Literal["observation_from_future"]
    max_future_periods: float = Field(ge=0, le=MAX_PERIODS)
    """How far a stamp may be ahead of the robot's clock, in control periods."""
    discards_observation: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "last", "max_future_periods": 0.5}
    """Allow half a period: the clocks of sensors differ a little."""
    weakest_keys: ClassVar[GuardKeys] = {"max_future_periods": 1.0}
    """Allow one period."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Give a stamp that is one period ahead."""
        step.stamp_ns = step.began_ns + nanoseconds(1.0, contract.spec.control_period_s)

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with its limit in nanoseconds."""
        del contract
        return _Armed(nanoseconds(self.max_future_periods, period_s))


class _Armed(ArmedGuard):
    def __init__(self, max_future_ns: int) -> None:
        self._max_future_ns = max_future_ns

    def refuses_observation(self, step: StepFacts) -> bool:
        return step.stamp_ns - step.began_ns > self._max_future_ns
