"""Takes observations of robots and environments into a policy's own memory, and names their faults."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ObservationError
from sacpipe.robot.decision import GivenObservation
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Arrays, Observation, ObservationLayout
from sacpipe.specs.terms import Term

_FLOAT32 = np.dtype(np.float32)
_NO_TERMS = (ObservationError, AttributeError, IndexError, KeyError, TypeError)
"""Errors of an object that is no mapping of arrays to the policy's terms."""


class PolicyObservations:
    """Checks one observation at a time and copies it.

    Args:
        target: Memory of one observation of the policy's terms.
        spec: The policy's task.
    """

    def __init__(self, target: Observation, spec: EnvSpec) -> None:
        self._target, self._spec = target, spec
        self._places = list(target.items())
        self._names = {term.name for term in spec.observation}
        self._known: ObservationLayout | None = None

    def load(self, observation: Arrays) -> None:
        """Copy one observation into the memory. Whether its values are finite is not checked.

        Args:
            observation: The array of each term; or an `Observation` of the task, whose terms that the policy
                does not see are not read.

        Raises:
            ObservationError: a term is missing or unknown, or has another shape or type.
        """
        if isinstance(observation, Observation):
            self._check_layout(observation.layout)
            target, vector = self._target, observation.group("policy")
            if vector.shape != target.vector.shape:
                raise ObservationError(
                    f"expected one observation of {self._spec.task}, found several, with the leading axes "
                    f"{list(vector.shape[:-1])}. Give one at a time."
                )
            target.vector[:] = vector
            for name, image in target.images.items():
                _copy(image, observation.images[name], name, self._spec.task)
            return
        if observation.keys() != self._names:
            raise ObservationError(self._name_terms(observation))
        for name, place in self._places:
            _copy(place, observation[name], name, self._spec.task)

    def _check_layout(self, layout: ObservationLayout) -> None:
        if layout is self._known:
            return
        terms = tuple(term for term in layout.terms if "policy" in term.groups)
        if terms != self._spec.observation:
            raise ObservationError(
                f"expected an observation of {self._spec.task}, with {_show(self._spec.observation)}; found "
                f"one with {_show(terms)}."
            )
        self._known = layout

    def _name_terms(self, observation: Arrays) -> str:
        missing, unknown = sorted(self._names - observation.keys()), sorted(observation.keys() - self._names)
        fault = f"'{missing[0]}' is missing" if missing else f"'{unknown[0]}' is not a term"
        return f"expected the terms {', '.join(sorted(self._names))} of {self._spec.task}: {fault}."


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


def name_fault(vector: NDArray[np.float32], spec: EnvSpec) -> str:
    """Name the first entry of an observation that is not finite by term, index and unit.

    Args:
        vector: The float32 terms of the policy, packed; at least one entry is not finite.
        spec: The policy's task.
    """
    place = int(np.flatnonzero(~np.isfinite(vector))[0])
    term = next(term for term in spec.layout.vector_terms if place < spec.layout.columns(term.name).stop)
    index = np.unravel_index(place - spec.layout.columns(term.name).start, term.shape) if term.shape else ()
    entry = "".join(f"[{int(axis)}]" for axis in index)
    return (
        f"observation {term.name}{entry} ({term.unit}) of {spec.task} is {vector[place]}; expected a finite "
        "number. No action was computed; check that sensor."
    )


def _copy(target: NDArray[np.float32] | NDArray[np.uint8], array: Any, name: str, task: str) -> None:
    is_array = isinstance(array, np.ndarray | np.generic)  # a term of shape () may be a NumPy number
    if not is_array or array.dtype != target.dtype or array.shape != target.shape:
        found = f"{array.dtype} of shape {array.shape}" if is_array else type(array).__name__
        raise ObservationError(
            f"observation {name} of {task}: expected {target.dtype} of shape {target.shape}, found {found}."
        )
    target[...] = array


def _show(terms: tuple[Term, ...]) -> str:
    return ", ".join(f"{term.name} {term.dtype} {list(term.shape)}" for term in terms)[:500]


def _flat_order(layout: ObservationLayout) -> slice | NDArray[np.intp]:
    """Return the index that brings a vector in the order of the specification into the packed order."""
    places, start = {}, 0
    for term in layout.terms:
        places[term.name] = np.arange(start, start + term.size)
        start += term.size
    order = np.concatenate([places[term.name] for term in layout.vector_terms])
    return slice(None) if np.array_equal(order, np.arange(start)) else order
