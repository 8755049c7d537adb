"""The computation of a network, written down as ONNX operators and arrays.

A policy's networks describe themselves so, and `sacpipe.export` makes policy.onnx of it. Networks import this
file for its types only, so that a training depends neither on it nor on the package onnx.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class GraphNode(NamedTuple):
    """One operation."""

    operator: str
    """Name of an ONNX operator; docs/bundle.md lists those that a bundle may have."""
    inputs: tuple[str, ...]
    """Names of the values and constants that it takes."""
    output: str
    """Name of the value that it makes, and of the node."""
    attributes: dict[str, int | tuple[int, ...]]


class GraphDraft:
    """A graph so far: nodes in the order of computation, and constants.

    Args:
        taken: Names of the graph's inputs and outputs.
    """

    def __init__(self, taken: Iterable[str]) -> None:
        self.nodes: list[GraphNode] = []
        """Operations, each after those whose values it takes."""
        self.constants: dict[str, NDArray[Any]] = {}
        """Constants by name, of float32 or int64."""
        self._taken = set(taken)

    def constant(self, name: str, value: Any) -> str:
        """Add a constant, and return its name: the one given, followed by `_` while it is taken."""
        array = np.asarray(value)
        fresh = self._fresh(name)
        self.constants[fresh] = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        return fresh

    def add(
        self, operator: str, inputs: Iterable[str], name: str, **attributes: int | tuple[int, ...]
    ) -> str:
        """Add an operation of one output, and return the output's name, made as that of a constant."""
        node = GraphNode(operator, tuple(inputs), self._fresh(name), attributes)
        self.nodes.append(node)
        return node.output

    def linear(self, value: str, weight: NDArray[Any], bias: NDArray[Any], name: str) -> str:
        """Add value @ weight + bias. Shapes (batch, in_dim), (in_dim, out_dim) and (out_dim,)."""
        constants = (self.constant(f"{name}_weight", weight), self.constant(f"{name}_bias", bias))
        return self.add("Gemm", (value, *constants), name)

    def columns(self, value: str, start: int, stop: int, name: str) -> str:
        """Add a slice of the last axis of a value of shape (batch, size). Shape (batch, stop - start)."""
        places = (("start", start), ("stop", stop), ("axis", 1))
        bounds = [self.constant(f"{name}_{what}", [place]) for what, place in places]
        return self.add("Slice", [value, *bounds], name)

    def rows(self, value: str, size: int, name: str) -> str:
        """Add a reshape to (batch, size)."""
        return self.add("Reshape", (value, self.constant(f"{name}_shape", (-1, size))), name)

    def joined(self, parts: Iterable[str | None], name: str) -> str:
        """Join values along their last axis; None is left out. At least one is a value."""
        values = [part for part in parts if part is not None]
        return values[0] if len(values) == 1 else self.add("Concat", values, name, axis=1)

    def _fresh(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name
