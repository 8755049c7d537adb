"""Layers of stacks of perceptrons in the kernels' layout.

A matrix is kept panel by panel: [members, panels of outputs, padded inputs, width], where a panel has 32 outputs,
or 16 in a layer that has no more. Padding is zero and stays zero. The last layer of a critic has one output, and is a
vector.
"""

import copy
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.memory import Memory

Floats = NDArray[np.float32]
PANEL = 32
BLOCK = 8
_NARROW = 16


def panels(features: int, width: int = PANEL) -> int:
    """Return the number of panels of so many features."""
    return -(-features // width)


def padded(rows: int) -> int:
    """Return a number of rows, rounded up to whole blocks of eight."""
    return -(-rows // BLOCK) * BLOCK


def width_of(outputs: int) -> int:
    """Return the width of panels of outputs that no other layer takes."""
    return _NARROW if outputs <= _NARROW else PANEL


class Tensors(NamedTuple):
    """Weights and biases of one layer in the kernels' layout."""

    weights: Floats
    bias: Floats


class Layer:
    """One layer of every member: parameters, their moments, slow copies and turned copies.

    Args:
        memory: Where its arrays are made.
        members: Perceptrons in the stack.
        inputs: Features before the layer.
        outputs: Features after it.
        width: Of its panels of outputs: 32 where another layer follows.
        is_value: Whether it is the last layer of a critic.
        has_slow: Whether there are slow copies.
        is_turned: Whether the gradient with respect to its input is needed.
    """

    def __init__(
        self,
        memory: Memory,
        members: int,
        inputs: int,
        outputs: int,
        *,
        width: int,
        is_value: bool,
        has_slow: bool,
        is_turned: bool,
    ) -> None:
        self.members, self.inputs, self.outputs, self.is_value = members, inputs, outputs, is_value
        self.width = width
        self.panels = panels(inputs) if is_value else panels(outputs, self.width)

        def tensors() -> Tensors:
            if is_value:
                return Tensors(memory.floats(members, self.panels, PANEL), memory.floats(members, _NARROW))
            shape = (members, self.panels, padded(inputs), self.width)
            return Tensors(memory.floats(*shape), memory.floats(members, self.panels, self.width))

        self.parameters, self.means, self.squares = tensors(), tensors(), tensors()
        self.slow = tensors() if has_slow else None
        self.squared_gradients = memory.floats(members, self.panels, _NARROW)
        """Sixteen partial sums of the squared gradient for every panel."""
        self.turned = (
            memory.floats(members, panels(inputs), outputs, PANEL) if is_turned and not is_value else None
        )

    def first(self) -> "Layer":
        """Return the layer of the first member alone, in the same memory."""
        view = copy.copy(self)
        view.members = 1
        for name, value in vars(self).items():
            if isinstance(value, Tensors):
                setattr(view, name, Tensors(*(array[:1] for array in value)))
            elif isinstance(value, np.ndarray):
                setattr(view, name, value[:1])
        return view

    def put(self, tensors: Tensors, weight: Floats, bias: Floats) -> None:
        """Copy a layer in. Shapes (members, inputs, outputs) and (members, 1, outputs)."""
        if self.is_value:
            tensors.weights.reshape(self.members, -1)[:, : self.inputs] = weight[:, :, 0]
            tensors.bias[:, 0] = bias[:, 0, 0]
            return
        full = np.zeros((self.members, padded(self.inputs), self.panels * self.width), dtype=np.float32)
        full[:, : self.inputs, : self.outputs] = weight
        tensors.weights[...] = full.reshape(self.members, -1, self.panels, self.width).transpose(0, 2, 1, 3)
        tensors.bias.reshape(self.members, -1)[:, : self.outputs] = bias[:, 0]

    def get(self, tensors: Tensors, weight: Floats, bias: Floats) -> None:
        """Copy a layer out; shapes as of `put`."""
        if self.is_value:
            weight[:, :, 0] = tensors.weights.reshape(self.members, -1)[:, : self.inputs]
            bias[:, 0, 0] = tensors.bias[:, 0]
            return
        full = tensors.weights.transpose(0, 2, 1, 3).reshape(self.members, padded(self.inputs), -1)
        weight[...] = full[:, : self.inputs, : self.outputs]
        bias[:, 0] = tensors.bias.reshape(self.members, -1)[:, : self.outputs]

    def turn(self) -> None:
        """Make the turned copies from the parameters."""
        if self.turned is None:
            return
        full = self.parameters.weights.transpose(0, 1, 3, 2).reshape(self.members, -1, padded(self.inputs))
        wide = np.zeros((self.members, self.outputs, panels(self.inputs) * PANEL), dtype=np.float32)
        wide[:, :, : self.inputs] = full[:, : self.outputs, : self.inputs]
        self.turned[...] = wide.reshape(self.members, self.outputs, -1, PANEL).transpose(0, 2, 1, 3)
