"""The range of observations in training with a margin, for the guards that compare with it."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract
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


def _packed(contract: Contract, values: dict[str, tuple[float, ...]]) -> NDArray[np.float64]:
    layout = contract.spec.layout
    return np.array([number for term in layout.vector_terms for number in values[term.name]], np.float64)


def _to_float32(values: NDArray[np.float64]) -> FloatArray:
    """Round to float32; a number beyond its range becomes the largest one."""
    largest = np.finfo(np.float32).max
    return np.clip(values, -largest, largest).astype(np.float32)
