"""The range of observations in training with a margin, and what the guards that compare with it share."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.guards import MAX_MARGIN
from sacpipe.robot.guards.guard import ArmedGuard, Guard, StepFacts
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


class EnvelopeRange:
    """Lowest and highest allowed value of each float32 entry.

    Args:
        contract: Its envelope has the range of each entry.
        margin: Allowed distance from the range, as a share of it.
    """

    def __init__(self, contract: Contract, margin: float) -> None:
        low, high = (_packed(contract, values) for values in (contract.envelope.low, contract.envelope.high))
        distance = margin * (high - low)
        self.low = _to_float32(low - distance)
        """Shape (observation_dim,)."""
        self.high = _to_float32(high + distance)
        """Shape (observation_dim,)."""

    def is_outside(self, observation: Observation) -> bool:
        """Return whether an entry is outside."""
        vector = observation.vector
        return bool((vector < self.low).any() or (vector > self.high).any())


class EnvelopeGuard(Guard):
    """Base of the guards that refuse an observation outside of the training range."""

    margin: float = Field(ge=0, le=MAX_MARGIN)
    """Allowed distance of an observation from the training range, as a share of each entry's range."""
    only_at_start: ClassVar[bool] = False
    """Whether the first observations of an episode alone are compared, until the policy acts."""

    @classmethod
    def example_refused(cls, step: StepFacts, contract: Contract) -> None:
        """Begin an episode with one entry above the range."""
        step.is_start = True
        step.observation.vector[-1] = 2.0 * EnvelopeRange(contract, 1.0).high[-1] + 1.0

    def arm(self, contract: Contract, period_s: float | None) -> ArmedGuard:
        """Return the armed guard with the allowed range of each entry."""
        del period_s
        return _Armed(EnvelopeRange(contract, self.margin), only_at_start=self.only_at_start)


class _Armed(ArmedGuard):
    def __init__(self, allowed: EnvelopeRange, *, only_at_start: bool) -> None:
        self._allowed, self._only_at_start = allowed, only_at_start

    def refuses_observation(self, step: StepFacts) -> bool:
        return (step.is_start or not self._only_at_start) and self._allowed.is_outside(step.observation)


def _packed(contract: Contract, values: dict[str, tuple[float, ...]]) -> NDArray[np.float64]:
    layout = contract.spec.layout
    return np.array([number for term in layout.vector_terms for number in values[term.name]], np.float64)


def _to_float32(values: NDArray[np.float64]) -> FloatArray:
    """Round to float32; a number beyond its range becomes the largest one."""
    largest = np.finfo(np.float32).max
    return np.clip(values, -largest, largest).astype(np.float32)
