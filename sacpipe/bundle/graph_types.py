"""Tracks which values of a graph are integers or uint8, and refuses arithmetic with them.

Arithmetic with integers crashes onnxruntime for rare observations: dividing the lowest integer by -1, or an
image by an image with a zero, ends the process by a signal (SIGFPE). So integers are shapes, indices and axes
only, and an image becomes float32 by a `Cast` before anything is computed from it.
"""

from collections.abc import Collection
from typing import Any

import numpy as np

from sacpipe.bundle.protobuf import refuse

_INTEGER_INPUTS: dict[str, frozenset[int]] = {
    **dict.fromkeys(("Expand", "Gather", "Pow", "Reshape", "Split", "Squeeze", "Unsqueeze"), frozenset({1})),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), frozenset({1})),
    "Slice": frozenset({1, 2, 3, 4}),
}
"""Indices of the inputs that may be integers, by operator: shapes, indices, axes and exponents."""
_MOVING_OPERATORS = frozenset({"Concat", "Gather", "Identity", "Reshape", "Slice", "Squeeze", "Unsqueeze"})
"""Operators that copy values without arithmetic; their output is an integer or an image if an input is."""
_IMAGE_OPERATORS = _MOVING_OPERATORS | {"Expand", "Flatten", "Split", "Transpose"}
"""Operators that copy the values of images."""
_FLOAT32, _BOOL = 1, 9
"""ONNX data types that a Cast may have as its target."""


class ValueTypes:
    """Types of the values so far, node by node in the graph's order.

    Args:
        integers: Names of the constants that are integers.
        images: Names of the inputs that are uint8.
    """

    def __init__(self, integers: Collection[str], images: Collection[str]) -> None:
        self._integers, self._images = set(integers), set(images)
        self._used: set[str] = set()

    def check(self, operator: str, inputs: list[str], outputs: list[str], attributes: dict[str, Any]) -> None:
        """Check the types of one node's inputs and record those of its outputs.

        Raises:
            BundleError: the node computes with integers or with uint8, or comes after a node that uses it.
        """
        self._used.update(inputs)
        if operator == "Cast" and attributes.get("to") not in (_FLOAT32, _BOOL):
            raise refuse(f"expected a Cast to float32 or bool, found ONNX data type {attributes.get('to')}")
        makes_images = self._check_images(operator, inputs, attributes)
        makes_integers = self._check_integers(operator, inputs) or _is_integer(operator, attributes)
        if makes_images or makes_integers:
            if not self._used.isdisjoint(outputs):
                raise refuse(f"expected every node after those whose values it takes, found '{operator}'")
            (self._images if makes_images else self._integers).update(outputs)

    def _check_integers(self, operator: str, inputs: list[str]) -> bool:
        """Return whether the outputs are integers because an input is."""
        places = {place for place, name in enumerate(inputs) if name in self._integers}
        others = places - _INTEGER_INPUTS.get(operator, frozenset())
        if others and operator not in _MOVING_OPERATORS:
            raise refuse(
                f"expected integers as shapes, indices and axes only, found one as input {min(others)} of "
                f"'{operator}'"
            )
        return bool(others)

    def _check_images(self, operator: str, inputs: list[str], attributes: dict[str, Any]) -> bool:
        """Return whether the outputs are images because an input is."""
        places = {place for place, name in enumerate(inputs) if name in self._images}
        if not places or operator == "Shape" or (operator == "Cast" and attributes["to"] == _FLOAT32):
            return False
        if operator not in _IMAGE_OPERATORS or places & _INTEGER_INPUTS.get(operator, frozenset()):
            raise refuse(
                f"expected uint8 values in a Cast to float32 first, found one as input {min(places)} of "
                f"'{operator}'"
            )
        return True


def _is_integer(operator: str, attributes: dict[str, Any]) -> bool:
    """Return whether a node makes integers whatever its inputs are."""
    if operator != "Constant":
        return operator == "Shape"
    value = attributes.get("value")
    is_tensor = isinstance(value, np.ndarray) and value.dtype.kind == "i"
    return is_tensor or not attributes.keys().isdisjoint({"value_int", "value_ints"})
