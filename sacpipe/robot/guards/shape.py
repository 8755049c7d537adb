"""The guard `shape`: every term is there, with the contract's shape and type."""

from typing import ClassVar, Literal, Self

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class Shape(Guard):
    """A term or its stamp is missing or unknown, or a term has another shape or type."""

    name: Literal["shape"]
    discards_observation: ClassVar[bool] = True

    @classmethod
    def example(cls) -> Self:
        """Return the default."""
        return cls(name="shape", fallback="stop")

    @classmethod
    def default(cls) -> Self:
        """Stop: a robot that gives other terms is not the robot of this task."""
        return cls(name="shape", fallback="stop")

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Leave a term out."""
        del contract
        step.is_complete = False

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard; it has no threshold."""
        del contract, period_s
        return _Armed()


class _Armed(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        return not step.is_complete
