"""The guard `action_change`: no entry of the action jumps from one step to the next."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class ActionChange(Guard):
    """An entry of the action changes by more than `max_change`. Compared with the last executed one."""

    name: Literal["action_change"]
    max_change: float = Field(gt=0, le=1)
    """Largest change of an action entry from one step to the next, as a share of its range; 1 allows all."""
    can_limit: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "limit", "max_change": 1.0}
    """Allow every change: how fast an actuator may move is not known."""
    weakest_keys: ClassVar[GuardKeys] = {"max_change": 1.0}
    """Allow every change."""

    @classmethod
    def example(cls) -> Self:
        """Return a config of a quarter of the range."""
        return cls(name="action_change", fallback="limit", max_change=0.25)

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Go from one bound to the other."""
        step.last_action = [term.low for term in contract.spec.action]
        step.action = [term.high for term in contract.spec.action]

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the largest change of each entry, in task units."""
        del period_s
        return _Armed([self.max_change * (term.high - term.low) for term in contract.spec.action])


class _Armed(ArmedGuard):
    def __init__(self, max_change: list[float]) -> None:
        self._max_change = max_change

    def refuses_action(self, step: StepFacts) -> bool:
        if step.last_action is None:
            return False
        changes = zip(step.action or (), step.last_action, self._max_change, strict=True)
        return any([abs(value - last) > max_change for value, last, max_change in changes])

    def limit(self, step: StepFacts, action: list[float]) -> list[float]:
        if step.last_action is None:
            return action
        changes = zip(action, step.last_action, self._max_change, strict=True)
        return [min(max(value, last - change), last + change) for value, last, change in changes]
