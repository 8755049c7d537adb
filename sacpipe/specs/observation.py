"""Observations: a mapping from term to array, over one packed vector and the images.

All float32 terms are adjacent in one vector: those of the policy alone first, then those of policy and
critics, then those of the critics alone, then the others. So what the policy sees is one contiguous part of
the vector, what the critics see another, and the input of a multilayer perceptron is a view.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sacpipe.specs.terms import Term

Arrays = Mapping[str, NDArray[Any]]
"""The array of each term, by name."""


class ObservationLayout:
    """Places of an observation's terms in packed memory.

    Args:
        terms: Terms in the order of the specification.
    """

    def __init__(self, terms: Sequence[Term]) -> None:
        self.terms = tuple(terms)
        """Terms in the order of the specification."""
        numbers = [term for term in self.terms if term.dtype == "float32"]
        self.vector_terms = tuple(sorted(numbers, key=_block))
        """float32 terms in the order of the vector."""
        self.image_terms = tuple(term for term in self.terms if term.dtype == "uint8")
        """uint8 terms in the order of the specification."""
        self._columns: dict[str, slice] = {}
        end = 0
        for term in self.vector_terms:
            self._columns[term.name] = slice(end, end + term.size)
            end += term.size
        self.vector_dim = end
        """Length of the vector."""
        self.shapes = {term.name: term.shape for term in self.terms}
        """Shape of each term, by name."""
        self._groups = {group: self._group_columns(group) for group in ("policy", "critic")}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ObservationLayout) and self.terms == other.terms

    def __hash__(self) -> int:
        return hash(self.terms)

    def columns(self, name: str) -> slice:
        """Return the place of a float32 term in the vector."""
        return self._columns[name]

    def group_columns(self, group: Literal["policy", "critic"]) -> slice:
        """Return the place of all float32 terms of a group in the vector; an empty slice if it has none."""
        return self._groups[group]

    def _group_columns(self, group: str) -> slice:
        places = [self._columns[term.name] for term in self.vector_terms if group in term.groups]
        return slice(places[0].start, places[-1].stop) if places else slice(0, 0)

    def empty(self, *axes: int) -> "Observation":
        """Return uninitialised observations with these leading axes."""
        images = {term.name: np.empty((*axes, *term.shape), dtype=np.uint8) for term in self.image_terms}
        return Observation(self, np.empty((*axes, self.vector_dim), dtype=np.float32), images)

    def pack(self, arrays: Arrays) -> "Observation":
        """Copy the arrays of all terms, with any common leading axes, into an observation.

        Raises:
            KeyError: a term is missing.
            ValueError: an array has another shape than its term.
        """
        first = self.terms[0]
        found = np.shape(arrays[first.name])
        packed = self.empty(*found[: len(found) - len(first.shape)])
        for term in self.terms:
            target, array = packed[term.name], arrays[term.name]
            if target.shape != np.shape(array):
                raise ValueError(f"{term.name}: expected shape {target.shape}, found {np.shape(array)}")
            target[...] = array
        return packed


class Observation(Mapping[str, NDArray[Any]]):
    """One observation, or several with common leading axes: maps the name of each term to its array.

    The arrays are views of `vector` and `images`. An observation that an environment returned is not written
    again.
    """

    __slots__ = ("images", "layout", "vector")

    def __init__(
        self, layout: ObservationLayout, vector: NDArray[np.float32], images: dict[str, NDArray[np.uint8]]
    ) -> None:
        self.layout = layout
        self.vector = vector
        """All float32 terms. Shape (..., vector_dim)."""
        self.images = images
        """uint8 terms by name. Shapes (..., height, width, channels)."""

    def __getitem__(self, name: str) -> NDArray[Any]:
        image = self.images.get(name)
        if image is not None:
            return image
        columns = self.vector[..., self.layout.columns(name)]
        return columns.reshape((*self.vector.shape[:-1], *self.layout.shapes[name]))

    def __iter__(self) -> Iterator[str]:
        return (term.name for term in self.layout.terms)

    def __len__(self) -> int:
        return len(self.layout.terms)

    def __repr__(self) -> str:
        return f"Observation({', '.join(f'{name}: {array.shape}' for name, array in self.items())})"

    def group(self, group: Literal["policy", "critic"]) -> NDArray[np.float32]:
        """Return the float32 terms that the policy or the critics see, as a view. Shape (..., dim)."""
        return self.vector[..., self.layout.group_columns(group)]

    def rows(self, index: Any) -> "Observation":
        """Return the observations at an index of the leading axes, as NumPy indexes them."""
        images = {name: array[index] for name, array in self.images.items()}
        return Observation(self.layout, self.vector[index], images)

    def copy(self) -> "Observation":
        """Return a copy with memory of its own."""
        images = {name: array.copy() for name, array in self.images.items()}
        return Observation(self.layout, self.vector.copy(), images)

    def write(self, source: "Observation") -> None:
        """Copy the values of observations with the same leading axes into these."""
        self.vector[...] = source.vector
        for name, image in self.images.items():
            image[...] = source.images[name]

    def equals(self, other: "Observation") -> bool:
        """Return whether all values are equal."""
        return np.array_equal(self.vector, other.vector) and all(
            np.array_equal(array, other.images[name]) for name, array in self.images.items()
        )


def stacked(observations: Sequence[Observation]) -> Observation:
    """Return observations of one layout, at least one, with a new first axis."""
    first = observations[0]
    images = {name: np.stack([one.images[name] for one in observations]) for name in first.images}
    return Observation(first.layout, np.stack([one.vector for one in observations]), images)


def _block(term: Term) -> int:
    """Return the part of the vector that a float32 term belongs to."""
    is_policy, is_critic = "policy" in term.groups, "critic" in term.groups
    return {(True, False): 0, (True, True): 1, (False, True): 2, (False, False): 3}[is_policy, is_critic]
