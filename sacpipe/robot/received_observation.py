"""The observation that a runtime received, in memory of its own: copied from terms by name, packed or flat."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.robot.decision import GivenObservation
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, ObservationLayout

_FLOAT32 = np.dtype(np.float32)


class ReceivedObservation:
    """Copies what a robot gives into one observation.

    Args:
        spec: The policy's specification.
        observation: Memory that is written at every step.
    """

    def __init__(self, spec: EnvSpec, observation: Observation) -> None:
        layout = spec.layout
        self._observation, self._layout = observation, layout
        self._shape = (layout.vector_dim,)
        self._terms: list[tuple[str, NDArray[Any], np.dtype[Any]]] = [
            (term.name, observation[term.name].view(), np.dtype(term.dtype)) for term in layout.terms
        ]
        """Name, place and type of each term."""
        self._flat_order = None if layout.image_terms else _flat_order(layout)
        self._source, self._columns = layout, slice(0, layout.vector_dim)
        """Layout of the last packed observation, and the policy's columns in it."""

    def copy_from(self, given: GivenObservation) -> bool:
        """Copy an observation; return False where it has not the terms of the policy.

        Args:
            given: As for `Runtime.step`.
        """
        if isinstance(given, np.ndarray):
            return self._copy_flat(given)
        if isinstance(given, Observation) and self._is_known(given.layout):
            return self._copy_packed(given)
        return self._copy_terms(given)

    def _copy_flat(self, given: NDArray[Any]) -> bool:
        order = self._flat_order
        if order is None or given.dtype != _FLOAT32 or given.shape != self._shape:
            return False
        self._observation.vector[:] = given[order]
        return True

    def _copy_packed(self, given: Observation) -> bool:
        vector, own = given.vector, self._observation
        if vector.dtype != _FLOAT32 or vector.shape != (self._source.vector_dim,):
            return False
        for name, image in own.images.items():
            found = given.images[name]
            if found.dtype != np.uint8 or found.shape != image.shape:
                return False
            image[...] = found
        own.vector[:] = vector[self._columns]
        return True

    def _copy_terms(self, given: Mapping[str, NDArray[Any]]) -> bool:
        try:
            if len(given) != len(self._terms):
                return False
            for name, place, dtype in self._terms:
                array = given[name]
                if array.dtype != dtype or array.shape != place.shape:
                    return False
                place[...] = array
        except (KeyError, IndexError, TypeError, AttributeError):
            return False
        return True

    def _is_known(self, layout: ObservationLayout) -> bool:
        """Return whether a packed observation has the policy's terms, with others or without.

        In simulation the critics' terms are there too; the policy's columns are contiguous, in the same order.
        """
        if layout is self._source:
            return True
        if tuple(term for term in layout.terms if "policy" in term.groups) != self._layout.terms:
            return False
        self._source, self._columns = layout, layout.group_columns("policy")
        return True


def _flat_order(layout: ObservationLayout) -> slice | NDArray[np.intp]:
    """Return the index that brings the terms in the order of the specification into the order of the vector."""
    places, start = {}, 0
    for term in layout.terms:
        places[term.name] = np.arange(start, start + term.size)
        start += term.size
    order = np.concatenate([places[term.name] for term in layout.vector_terms])
    return slice(None) if np.array_equal(order, np.arange(start)) else order
