"""The guard `action_not_finite`: no entry of the action is NaN or infinity."""

import math
from typing import Literal, Self

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class ActionNotFinite(Guard):
    """An entry of the action is NaN or infinity."""

    name: Literal["action_not_finite"]

    @classmethod
    def example(cls) -> Self:
        """Return the default."""
        return cls(name="action_not_finite", fallback="stop")

    @classmethod
    def default(cls) -> Self:
        """Stop: the network is broken."""
        return cls(name="action_not_finite", fallback="stop")

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let one entry be NaN."""
        del contract
        if step.action is not None:
            step.action = [*step.action[:-1], math.nan]

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard; it has no threshold."""
        del contract, period_s
        return _Armed()


class _Armed(ArmedGuard):
    def refuses_action(self, step: StepFacts) -> bool:
        return not math.isfinite(sum(step.action or ()))
