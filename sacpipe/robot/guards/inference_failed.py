"""The guard `inference_failed`: the policy computed an action."""

from typing import ClassVar, Literal

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class _Armed(ArmedGuard):
    def refuses_action(self, step: StepFacts) -> bool:
        return step.action is None


class InferenceFailed(Guard):
    """The policy raised an error instead of returning an action, or the step failed by another error."""

    name: Literal["inference_failed"]
    armed: ClassVar[type[ArmedGuard]] = _Armed
    default_keys: ClassVar[GuardKeys] = {"fallback": "stop"}
    """Stop: what failed once fails again."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Compute no action."""
        del contract
        step.action = None
