"""The guard `deadline_missed`: a step is computed before its deadline."""

from typing import ClassVar, Literal

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_PERIODS
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts, nanoseconds


class DeadlineMissed(Guard):
    """The step took longer than `deadline_periods` to compute. The last guard of a step."""

    name: Literal["deadline_missed"]
    deadline_periods: float = Field(gt=0, le=MAX_PERIODS)
    """Longest computation of one step, in control periods."""
    default_keys: ClassVar[GuardKeys] = {"fallback": "last", "deadline_periods": 0.8}
    """Allow four fifths of a period: the rest is for the robot's own work."""
    weakest_keys: ClassVar[GuardKeys] = {"deadline_periods": 1.0}
    """Allow one period."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let the step begin two periods before now."""
        step.began_ns = step.clock_ns() - nanoseconds(2.0, contract.spec.control_period_s)

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the deadline in nanoseconds after the step began."""
        del contract
        return _Armed(nanoseconds(self.deadline_periods, period_s))


class _Armed(ArmedGuard):
    def __init__(self, deadline_ns: int) -> None:
        self._deadline_ns = deadline_ns

    def refuses_action(self, step: StepFacts) -> bool:
        return step.clock_ns() - step.began_ns > self._deadline_ns
