"""The guard `shape`: every term is there, with the contract's shape and type."""

from typing import ClassVar, Literal

from sacpipe.bundle.contract import Contract
from sacpipe.robot.guards.guard import ArmedGuard, Guard, GuardKeys, StepFacts


class _Armed(ArmedGuard):
    def refuses_observation(self, step: StepFacts) -> bool:
        return not step.is_complete


class Shape(Guard):
    """A term or its stamp is missing or unknown, or a term has another shape or type."""

    name: Literal["shape"]
    discards_observation: ClassVar[bool] = True
    armed: ClassVar[type[ArmedGuard]] = _Armed
    default_keys: ClassVar[GuardKeys] = {"fallback": "stop"}
    """Stop: a robot that gives other terms is not the robot of this task."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Leave a term out."""
        del contract
        step.is_complete = False
