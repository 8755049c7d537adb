"""The guard `action_not_finite`: no entry of the action is NaN or infinity."""

import math
from typing import ClassVar, Literal

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class _Armed(ArmedGuard):
    def refuses_action(self, step: StepFacts) -> bool:
        return not math.isfinite(sum(step.action or ()))


class ActionNotFinite(Guard):
    """An entry of the action is NaN or infinity."""

    name: Literal["action_not_finite"]
    armed: ClassVar[type[ArmedGuard]] = _Armed
    default_keys: ClassVar[GuardKeys] = {"fallback": "stop"}
    """Stop: the network is broken."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let one entry be NaN."""
        del contract
        if step.action is not None:
            step.action = [*step.action[:-1], math.nan]
