"""Copies an observation by terms, packed or flat into memory of the runtime's own."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ObservationError
from sacpipe.robot.decision import GivenObservation
from sacpipe.robot.observation import PolicyObservations
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout

_FLOAT32 = np.dtype(np.float32)
_NO_TERMS = (ObservationError, AttributeError, IndexError, KeyError, TypeError)
"""Errors of an object that is no mapping of arrays to the policy's terms."""


class ReceivedObservation:
    """Copies what a robot gives into one observation.

    Args:
        spec: The policy's specification.
        observation: Memory that is written at every step.
    """

    def __init__(self, spec: EnvSpec, observation: Observation) -> None:
        self._vector = observation.vector
        self._terms = PolicyObservations(observation, spec)
        self._flat_order = None if observation.images else _flat_order(spec.layout)

    def copy_from(self, observation: GivenObservation) -> bool:
        """Copy an observation; return False where it has not the terms of the policy.

        Args:
            observation: As for `Runtime.step`.
        """
        if isinstance(observation, np.ndarray):
            order = self._flat_order
            if order is None or observation.dtype != _FLOAT32 or observation.shape != self._vector.shape:
                return False
            self._vector[:] = observation[order]
            return True
        try:
            self._terms.load(observation)
        except _NO_TERMS:
            return False
        return True


def _flat_order(layout: ObservationLayout) -> slice | NDArray[np.intp]:
    """Return the index that brings a vector in the order of the specification into the packed order."""
    places, start = {}, 0
    for term in layout.terms:
        places[term.name] = np.arange(start, start + term.size)
        start += term.size
    order = np.concatenate([places[term.name] for term in layout.vector_terms])
    return slice(None) if np.array_equal(order, np.arange(start)) else order
