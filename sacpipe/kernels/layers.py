"""Layers of stacks of perceptrons in the kernels' layout.

A matrix is kept panel by panel: [members, panels of outputs, padded inputs, width], where a panel has 32
outputs, or 16 in a layer that has no more. Padding is zero and stays zero. The last layer of a critic has one
output, and is a vector.
"""

import copy
from abc import ABC, abstractmethod
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.memory import Memory

Array = NDArray[np.generic]
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
    """Weights and biases of one layer or normalisation in the kernels' layout."""

    weights: Floats
    bias: Floats


class Shape(NamedTuple):
    """What a layer has."""

    inputs: int
    outputs: int
    width: int
    """Of its panels of outputs: 32 where another layer follows."""
    is_value: bool
    """Whether it is the last layer of a critic."""
    has_slow: bool
    """Whether there are slow copies."""
    is_turned: bool
    """Whether the gradient with respect to its input is needed."""
    has_norm: bool = False
    """Whether a normalisation follows."""


class Part(ABC):
    """Parameters of every member, their moments and slow copies."""

    members: int
    parameters: Tensors
    means: Tensors
    squares: Tensors
    slow: Tensors | None
    squared_gradients: Floats
    """Sixteen partial sums of the squared gradient for every panel."""

    def first(self) -> Self:
        """Return the part of the first member alone, in the same memory."""
        view = copy.copy(self)
        view.members = 1
        for name, value in vars(self).items():
            if isinstance(value, Tensors):
                setattr(view, name, Tensors(*(array[:1] for array in value)))
            elif isinstance(value, np.ndarray):
                setattr(view, name, value[:1])
            elif isinstance(value, Part):
                setattr(view, name, value.first())
        return view

    @abstractmethod
    def put(self, tensors: Tensors, weight: Floats, bias: Floats) -> None:
        """Copy a module's weight and bias in, in the shapes that the module has."""

    @abstractmethod
    def get(self, tensors: Tensors, weight: Floats, bias: Floats) -> None:
        """Copy a module's weight and bias out."""

    @abstractmethod
    def turn(self) -> None:
        """Make what is a copy of the parameters; called after `put`."""


class Norm(Part):
    """A normalisation of rows, with a weight and a bias of each feature.

    Args:
        memory: Where its arrays are made.
        members: Perceptrons in the stack.
        features: Of a row.
        has_slow: Whether there are slow copies.
    """

    def __init__(self, memory: Memory, members: int, features: int, *, has_slow: bool) -> None:
        self.members, self.features = members, features
        self.panels = panels(features)
        self.parameters, self.means, self.squares = (self._tensors(memory) for _ in range(3))
        self.slow = self._tensors(memory) if has_slow else None
        self.squared_gradients = memory.floats(members, self.panels, _NARROW)

    def _tensors(self, memory: Memory) -> Tensors:
        weights, bias = (memory.floats(self.members, self.panels, PANEL) for _ in range(2))
        return Tensors(weights, bias)

    def put(self, tensors: Tensors, weight: Floats, bias: Floats) -> None:
        """Copy a normalisation in. Shapes (members, 1, features)."""
        for array, values in zip(tensors, (weight, bias), strict=True):
            array.reshape(self.members, -1)[:, : self.features] = values[:, 0]

    def get(self, tensors: Tensors, weight: Floats, bias: Floats) -> None:
        """Copy a normalisation out; shapes as of `put`."""
        for array, values in zip(tensors, (weight, bias), strict=True):
            values[:, 0] = array.reshape(self.members, -1)[:, : self.features]

    def turn(self) -> None:
        """It has no copy of its parameters."""


class Layer(Part):
    """One layer of every member, with its weights as products take them.

    Args:
        memory: Where its arrays are made.
        members: Perceptrons in the stack.
        shape: Of the layer.
    """

    def __init__(self, memory: Memory, members: int, shape: Shape) -> None:
        self.members, self.inputs, self.outputs = members, shape.inputs, shape.outputs
        self.width, self.is_value = shape.width, shape.is_value
        self.panels = panels(self.inputs) if self.is_value else panels(self.outputs, self.width)
        self.parameters, self.means, self.squares = (self._tensors(memory) for _ in range(3))
        self.slow = self._tensors(memory) if shape.has_slow else None
        self.squared_gradients = memory.floats(members, self.panels, _NARROW)
        self.norm: Norm | None = None
        """Normalises the outputs before their ReLU."""
        if shape.has_norm:
            self.norm = Norm(memory, members, shape.outputs, has_slow=shape.has_slow)
        self.right: Array | None = None
        """Right operand forwards."""
        self.slow_right: Array | None = None
        """The same of the slow copies."""
        self.turned: Array | None = None
        """Right operand backwards, if the gradient with respect to the input is needed."""
        if not self.is_value:
            self._make_operands(memory, is_turned=shape.is_turned)

    def _tensors(self, memory: Memory) -> Tensors:
        members = self.members
        if self.is_value:
            return Tensors(memory.floats(members, self.panels, PANEL), memory.floats(members, _NARROW))
        weights = memory.floats(members, self.panels, padded(self.inputs), self.width)
        return Tensors(weights, memory.floats(members, self.panels, self.width))

    def _make_operands(self, memory: Memory, *, is_turned: bool) -> None:
        self.right = self.parameters.weights
        self.slow_right = None if self.slow is None else self.slow.weights
        if is_turned:
            self.turned = memory.floats(self.members, panels(self.inputs), self.outputs, PANEL)

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
        """Make the operands that are copies from the parameters."""
        if self.turned is None:
            return
        full = self.parameters.weights.transpose(0, 1, 3, 2).reshape(self.members, -1, padded(self.inputs))
        wide = np.zeros((self.members, self.outputs, panels(self.inputs) * PANEL), dtype=np.float32)
        wide[:, :, : self.inputs] = full[:, : self.outputs, : self.inputs]
        self.turned[...] = wide.reshape(self.members, self.outputs, -1, PANEL).transpose(0, 2, 1, 3)
