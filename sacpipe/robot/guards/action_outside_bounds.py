"""The guard `action_outside_bounds`: every entry of the action is within its term's bounds."""

from typing import ClassVar, Literal

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class ActionOutsideBounds(Guard):
    """An entry of the action is outside its term's bounds."""

    name: Literal["action_outside_bounds"]
    can_limit: ClassVar[bool] = True
    default_keys: ClassVar[GuardKeys] = {"fallback": "stop"}
    """Stop: an exported policy never leaves its bounds."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let one entry be twice as far above its bound as the range is wide."""
        term = contract.spec.action[-1]
        if step.action is not None:
            step.action = [*step.action[:-1], term.high + 2.0 * (term.high - term.low)]

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the bounds as float32 has them, in task units."""
        del period_s
        low, high = contract.spec.action_low.tolist(), contract.spec.action_high.tolist()
        return _Armed(list(zip(low, high, strict=True)))


class _Armed(ArmedGuard):
    def __init__(self, bounds: list[tuple[float, float]]) -> None:
        self._bounds = bounds

    def refuses_action(self, step: StepFacts) -> bool:
        for value, (low, high) in zip(step.action or (), self._bounds, strict=True):
            if not low <= value <= high:  # NaN included
                return True
        return False

    def limit(self, step: StepFacts, action: list[float]) -> list[float]:
        del step
        return [min(max(value, low), high) for value, (low, high) in zip(action, self._bounds, strict=True)]
