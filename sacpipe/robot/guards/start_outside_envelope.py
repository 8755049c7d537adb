"""The guard `start_outside_envelope`: an episode begins where training data exist."""

from typing import Literal, Self

from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_MARGIN
from sacpipe.robot.guards.envelope_range import EnvelopeRange
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts


class StartOutsideEnvelope(Guard):
    """An episode begins outside of the training range. By more than `margin` of an entry's range."""

    name: Literal["start_outside_envelope"]
    margin: float = Field(ge=0, le=MAX_MARGIN)
    """Allowed distance of a first observation from the training range, as a share of each entry's range."""

    @classmethod
    def example(cls) -> Self:
        """Return a config of a tenth of the range."""
        return cls(name="start_outside_envelope", fallback="safe", margin=0.1)

    @classmethod
    def default(cls) -> Self:
        """Allow a tenth of the range."""
        return cls(name="start_outside_envelope", fallback="safe", margin=0.1)

    @classmethod
    def weakest(cls) -> Self:
        """Allow the whole range on each side."""
        return cls(name="start_outside_envelope", fallback="safe", margin=1.0)

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Begin an episode with one entry above the range."""
        step.is_start = True
        step.observation.vector[-1] = 2.0 * EnvelopeRange(contract, 1.0).high[-1] + 1.0

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the allowed range of each entry."""
        del period_s
        return _Armed(EnvelopeRange(contract, self.margin))


class _Armed(ArmedGuard):
    def __init__(self, allowed: EnvelopeRange) -> None:
        self._allowed = allowed

    def refuses_observation(self, step: StepFacts) -> bool:
        return step.is_start and self._allowed.is_outside(step.observation)
