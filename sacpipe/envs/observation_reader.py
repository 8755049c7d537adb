"""Copies what a task returned as observation into one packed `Observation`, and checks observations.

NumPy would broadcast an observation of length 1 and parse a text as a number.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.envs.step_values import NUMERIC_KINDS, UnexpectedValueError, describe, follow
from sacpipe.specs.observation import Observation, ObservationLayout
from sacpipe.specs.terms import BOTH, RESERVED_NAMES, Group, Term

_FLOAT32 = np.dtype(np.float32)
_UINT8 = np.dtype(np.uint8)
_MAX_PYTHON_SUM = 64
"""Largest number of values for which a sum in Python is faster than a call of NumPy."""

ReadObservation = Callable[[Any], Observation]
"""Copies a task's observation into new memory; raises UnexpectedValueError for another shape or type."""


class ObservationPart(NamedTuple):
    """One array of a task's observation, of one term or of several terms in a row."""

    path: tuple[Any, ...]
    """Keys that lead to the array through nested mappings; empty if the observation is the array."""
    shape: tuple[int, ...]
    """Shape that the task declares."""
    terms: tuple[Term, ...]
    """Terms of the array's entries in their order; an image is one term."""

    @property
    def name(self) -> str:
        """Keys, joined by slashes."""
        return "/".join(map(str, self.path))

    @property
    def is_image(self) -> bool:
        """Whether the array is a uint8 image."""
        return self.terms[0].dtype == "uint8"


def array_term(
    name: str, shape: Sequence[int], dtype: Any, *, source: str, groups: tuple[Group, ...] = BOTH
) -> Term:
    """Return the term of an array that a task declares by shape and type alone.

    uint8 with three axes is an image, any other array of numbers float32. A reserved name gets the ending
    `_observation`.
    """
    is_image = len(shape) == 3 and np.dtype(dtype) == _UINT8
    return Term(
        name=f"{name}_observation" if name in RESERVED_NAMES else name,
        shape=tuple(int(length) for length in shape),
        dtype="uint8" if is_image else "float32",
        unit="1" if is_image else "unknown",
        source=source,
        groups=groups,
    )


def observation_reader(layout: ObservationLayout, parts: Sequence[ObservationPart]) -> ReadObservation:
    """Return a function that copies a task's observation into a new packed one.

    Args:
        layout: Layout of the task's specification.
        parts: Arrays of the observation; each term of the layout is in one of them.
    """
    order = _order(layout, [part for part in parts if not part.is_image])
    if len(parts) == 1 and not parts[0].path and not parts[0].is_image and order is None:
        return _vector_reader(layout, parts[0])
    numbers = [part for part in parts if not part.is_image]
    images = [(part.terms[0].name, part) for part in parts if part.is_image]

    def read(observation: Any) -> Observation:
        vector = np.empty(0, dtype=np.float32)
        if numbers:
            arrays = [_numeric(_entry(observation, part), part).ravel() for part in numbers]
            vector = np.concatenate(arrays, dtype=np.float32, casting="unsafe")
            vector = vector if order is None else vector[order]
        copies = {name: _image(_entry(observation, part), part) for name, part in images}
        return Observation(layout, vector, copies)

    return read


def _vector_reader(layout: ObservationLayout, part: ObservationPart) -> ReadObservation:
    """Return the reader of a task whose observation is one array: one copy, straight into the vector."""
    is_vector = len(part.shape) == 1

    def read(observation: Any) -> Observation:
        array = _numeric(observation, part).astype(np.float32)  # always a copy
        return Observation(layout, array if is_vector else array.reshape(-1), {})

    return read


def _order(layout: ObservationLayout, parts: Sequence[ObservationPart]) -> NDArray[np.int64] | None:
    """Return the index that sorts the parts' entries into the layout's vector; None if they are in order."""
    columns = [layout.columns(term.name) for part in parts for term in part.terms]
    places = [column for place in columns for column in range(place.start, place.stop)]
    order = np.argsort(np.array(places, dtype=np.int64))
    return None if np.array_equal(order, np.arange(len(order))) else order


def _entry(observation: Any, part: ObservationPart) -> Any:
    return follow("an observation", observation, part.path) if part.path else observation


def _numeric(value: Any, part: ObservationPart) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except ValueError as exc:  # a list of lists of different lengths
        raise UnexpectedValueError(f"{_expected(part)}, found {describe(value)}") from exc
    if array.shape != part.shape or array.dtype.kind not in NUMERIC_KINDS:
        raise UnexpectedValueError(f"{_expected(part)}, found {describe(value)}")
    return array


def _image(value: Any, part: ObservationPart) -> NDArray[np.uint8]:
    if not isinstance(value, np.ndarray) or value.shape != part.shape or value.dtype != _UINT8:
        raise UnexpectedValueError(f"{_expected(part)}, found {describe(value)}")
    return np.array(value, dtype=np.uint8, order="C")


def _expected(part: ObservationPart) -> str:
    entry = f" at the entry '{part.name}'" if part.path else ""
    kind = "an image of uint8" if part.is_image else "an observation of numbers"
    return f"expected {kind} of shape {part.shape}{entry}"


def check_observation(observation: Any, layout: ObservationLayout) -> None:
    """Check that a simulator returned an observation of the specification, with finite numbers.

    Raises:
        UnexpectedValueError: another type, layout, shape, or an entry that is not finite.
    """
    if type(observation) is not Observation:
        raise UnexpectedValueError(
            f"expected an Observation of the specification, found {describe(observation)}"
        )
    if observation.layout is not layout and observation.layout != layout:
        raise UnexpectedValueError(
            f"expected an observation of the terms of the specification, found {observation}"
        )
    vector = observation.vector
    _check_array("the vector", vector, (layout.vector_dim,), _FLOAT32)
    if layout.image_terms:
        if observation.images.keys() != {term.name for term in layout.image_terms}:
            raise UnexpectedValueError(
                f"expected each image of the specification, found {[*observation.images]}"
            )
        for term in layout.image_terms:
            _check_array(f"the image '{term.name}'", observation.images[term.name], term.shape, _UINT8)
    if vector.size <= _MAX_PYTHON_SUM:
        is_finite = math.isfinite(sum(vector.tolist()))  # a float64 sum of float32 cannot overflow
    else:
        is_finite = bool(np.isfinite(vector).all())
    if not is_finite:
        raise UnexpectedValueError(
            f"expected a finite observation, found {_first_bad(observation)}. The simulation diverged, or an "
            "option of the task is out of its range"
        )


def _check_array(what: str, array: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    if (
        type(array) is not np.ndarray
        or array.shape != shape
        or (array.dtype is not dtype and array.dtype != dtype)
    ):
        raise UnexpectedValueError(
            f"expected {what} of an observation of shape {shape} of {dtype}, found {describe(array)}"
        )


def _first_bad(observation: Observation) -> str:
    """Return the first entry that is not finite, with its index inside its term."""
    index = int(np.flatnonzero(~np.isfinite(observation.vector))[0])
    columns = {term.name: observation.layout.columns(term.name) for term in observation.layout.vector_terms}
    name = next(name for name, place in columns.items() if place.start <= index < place.stop)
    return f"{observation.vector[index]} at entry {index - columns[name].start} of '{name}'"
