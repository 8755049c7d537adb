"""What the shape rules of a graph take and return: nodes, shapes, known integers, and amounts of work."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

Shape = tuple[int, ...]
MAX_RANK = 8
"""Maximum number of dimensions of a value."""
MAX_DIM = 2**31 - 1
"""Maximum size of one dimension."""


class Node(NamedTuple):
    """One operation of a graph."""

    operator: str
    inputs: list[str]
    """Names of the values that it takes; empty where an input is left out."""
    outputs: list[str]
    """Names of the values that it makes."""
    attributes: dict[str, Any]
    """Value of each attribute, by name: a number, a list of numbers, bytes, or an array for a tensor."""


class Value(NamedTuple):
    """A value of the graph."""

    shape: Shape
    integers: NDArray[Any] | None = None
    """The numbers themselves where they are integers: shapes, indices and axes."""


class Result(NamedTuple):
    """What a node makes."""

    values: list[Value]
    operations: int
    """Number of multiplications and other operations."""
    scratch: int = 0
    """Numbers of temporary memory beside the values."""


Inputs = Sequence[Value | None]
"""Inputs of a node; None where one is left out."""


def constant(array: NDArray[Any]) -> Value:
    """Return the value of a constant tensor."""
    return Value(array.shape, array if array.dtype.kind == "i" else None)


def input_value(inputs: Inputs, place: int) -> Value:
    """Return an input that must be there.

    Raises:
        ValueError: it is left out.
    """
    value = inputs[place] if place < len(inputs) else None
    if value is None:
        raise ValueError(f"no input {place}")
    return value
