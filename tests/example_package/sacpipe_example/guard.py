"""A guard of the robot's power supply: the sum of all actions, as shares of their ranges, has a limit."""

from typing import ClassVar, Literal, Self

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class ActionPower(Guard):
    """The actions together draw more than `max_power`."""

    name: Literal["action_power"]
    max_power: float = Field(gt=0, le=1)
    """Largest mean magnitude of the actions, as a share of each action's larger bound."""
    can_limit: ClassVar[bool] = True

    @classmethod
    def example(cls) -> Self:
        """Return a config of half the power."""
        return cls(name="action_power", fallback="limit", max_power=0.5)

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Ask for all that every actuator has."""
        step.action = [term.high if term.high >= -term.low else term.low for term in contract.spec.action]

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the bound of each action, in task units."""
        del period_s
        return _Armed([max(-term.low, term.high) for term in contract.spec.action], self.max_power)


class _Armed(ArmedGuard):
    def __init__(self, bounds: list[float], max_power: float) -> None:
        self._bounds, self._max_power = bounds, max_power

    def _power(self, action: list[float]) -> float:
        return sum(abs(value) / bound for value, bound in zip(action, self._bounds, strict=True)) / len(
            action
        )

    def refuses_action(self, step: StepFacts) -> bool:
        return self._power(step.action or []) > self._max_power

    def limit(self, step: StepFacts, action: list[float]) -> list[float]:
        share = min(1.0, self._max_power / self._power(action))
        return [share * value for value in action]
