"""The guard `inference_failed`: the policy computed an action."""

from typing import Literal, Self

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class InferenceFailed(Guard):
    """The policy raised an error instead of returning an action, or the step failed by another error."""

    name: Literal["inference_failed"]

    @classmethod
    def example(cls) -> Self:
        """Return the default."""
        return cls(name="inference_failed", fallback="stop")

    @classmethod
    def default(cls) -> Self:
        """Stop: what failed once fails again."""
        return cls(name="inference_failed", fallback="stop")

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Compute no action."""
        del contract
        step.action = None

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard; it has no threshold."""
        del contract, period_s
        return _Armed()


class _Armed(ArmedGuard):
    def refuses_action(self, step: StepFacts) -> bool:
        return step.action is None
