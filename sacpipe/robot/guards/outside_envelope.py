"""The guard `outside_envelope`: at every step the robot is where training data exist. Off by default."""

from typing import Literal, Self

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_MARGIN
from sacpipe.robot.guards.envelope_range import EnvelopeRange
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class OutsideEnvelope(Guard):
    """An observation is outside the training range by more than `margin`."""

    name: Literal["outside_envelope"]
    margin: float = Field(ge=0, le=MAX_MARGIN)
    """Allowed distance of an observation from the training range, as a share of each entry's range."""

    @classmethod
    def example(cls) -> Self:
        """Return a config of half the range."""
        return cls(name="outside_envelope", fallback="safe", margin=0.5)

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Let one entry be above the range."""
        step.observation.vector[-1] = 2.0 * EnvelopeRange(contract, 1.0).high[-1] + 1.0

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the allowed range of each entry."""
        del period_s
        return _Armed(EnvelopeRange(contract, self.margin))


class _Armed(ArmedGuard):
    def __init__(self, allowed: EnvelopeRange) -> None:
        self._allowed = allowed

    def refuses_observation(self, step: StepFacts) -> bool:
        return self._allowed.is_outside(step.observation)
