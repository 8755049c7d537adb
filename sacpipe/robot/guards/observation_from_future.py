"""The guard `observation_from_future`: no stamp is far ahead of the robot's clock."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_PERIODS
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts, nanoseconds


class ObservationFromFuture(Guard):
    """A stamp is later than now, by more than `max_future_periods`."""

    name: Literal["observation_from_future"]
    max_future_periods: float = Field(ge=0, le=MAX_PERIODS)
    """How far a stamp may be ahead of the robot's clock, in control periods."""
    discards_observation: ClassVar[bool] = True

    @classmethod
    def example(cls) -> Self:
        """Return a config of half a period."""
        return cls(name="observation_from_future", fallback="last", max_future_periods=0.5)

    @classmethod
    def default(cls) -> Self:
        """Allow half a period: the clocks of sensors differ a little."""
        return cls(name="observation_from_future", fallback="last", max_future_periods=0.5)

    @classmethod
    def weakest(cls) -> Self:
        """Allow one period."""
        return cls(name="observation_from_future", fallback="last", max_future_periods=1.0)

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
