"""Guards of a step's action: computed, finite, within its bounds, near the last one and in time."""

import math
from typing import ClassVar, Literal, Self

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_PERIODS
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts, nanoseconds


class _ArmedInferenceFailed(ArmedGuard):
    def refuses_action(self, step: StepFacts) -> bool:
        return step.action is None


class InferenceFailed(Guard):
    """The policy raised an error instead of returning an action, or the step failed by another error."""

    name: Literal["inference_failed"]
    armed: ClassVar[type[ArmedGuard]] = _ArmedInferenceFailed
    default_keys: ClassVar[GuardKeys] = {"fallback": "stop"}
    """Stop: what failed once fails again."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Compute no action."""
        del contract
        step.action = None


class _ArmedActionNotFinite(ArmedGuard):
    def refuses_action(self, step: StepFacts) -> bool:
        return not math.isfinite(sum(step.action or ()))


class ActionNotFinite(Guard):
    """An entry of the action is NaN or infinity."""

    name: Literal["action_not_finite"]
    armed: ClassVar[type[ArmedGuard]] = _ArmedActionNotFinite
    default_keys: ClassVar[GuardKeys] = {"fallback": "stop"}
    """Stop: the network is broken."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let one entry be NaN."""
        del contract
        if step.action is not None:
            step.action = [*step.action[:-1], math.nan]


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
        return _ArmedActionOutsideBounds(list(zip(low, high, strict=True)))


class _ArmedActionOutsideBounds(ArmedGuard):
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
        return _ArmedActionChange([self.max_change * (term.high - term.low) for term in contract.spec.action])


class _ArmedActionChange(ArmedGuard):
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
        return _ArmedDeadlineMissed(nanoseconds(self.deadline_periods, period_s))


class _ArmedDeadlineMissed(ArmedGuard):
    def __init__(self, deadline_ns: int) -> None:
        self._deadline_ns = deadline_ns

    def refuses_action(self, step: StepFacts) -> bool:
        return step.clock_ns() - step.began_ns > self._deadline_ns
