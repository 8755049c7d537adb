"""Stacks of perceptrons in the kernels' layout, and the kernels of their passes.

A matrix is kept panel by panel: [members, panels of outputs, padded inputs, width], where a panel has 32 outputs,
or 16 in a layer that has no more. Padding is zero and stays zero. The last layer of a critic has one output, and is a
vector.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.memory import Memory
from sacpipe.kernels.program import Program

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


class Pass(NamedTuple):
    """Arrays of one evaluation of a stack."""

    inputs: Floats
    """Panels, [members or 1, panels, padded rows, 32]; one of them where all members see the same."""
    activations: list[Floats]
    """After every layer but the last: [members, panels, padded rows, 32]."""
    output: Floats
    """Values [members, padded rows], or panels [members, panels, padded rows, width]."""
    rows: int


class Perceptrons:
    """`members` perceptrons of equal shape with a ReLU after every layer but the last.

    Args:
        memory: Where all arrays are made.
        members: Perceptrons in the stack.
        dims: Features before the first layer and after every layer.
        has_slow: Whether there are slow copies.
        is_critic: Whether the last layer has one output.
    """

    def __init__(
        self, memory: Memory, members: int, dims: Sequence[int], *, has_slow: bool, is_critic: bool
    ) -> None:
        self.memory, self.members, self.dims = memory, members, tuple(dims)
        last = len(dims) - 2
        self.layers = [
            Layer(
                memory,
                members,
                dims[index],
                dims[index + 1],
                width=width_of(dims[index + 1]) if index == last and not is_critic else PANEL,
                is_value=is_critic and index == last,
                has_slow=has_slow,
                is_turned=index > 0,
            )
            for index in range(last + 1)
        ]

    def first(self) -> "Perceptrons":
        """Return the stack of the first member alone, in the same memory."""
        view = copy.copy(self)
        view.members, view.layers = 1, [layer.first() for layer in self.layers]
        return view

    def inputs(self, rows: int, parts: int = 1) -> Floats:
        """Return zeroed panels of inputs, [parts, panels, padded rows, 32]."""
        return self.memory.floats(parts, panels(self.dims[0]), padded(rows), PANEL)

    def forward(self, program: Program, inputs: Floats, rows: int, *, slow: bool = False) -> Pass:
        """Add the evaluation of inputs, by the parameters or by their slow copies."""
        activations: list[Floats] = []
        before, last = inputs, self.layers[-1]
        for layer in self.layers:
            tensors = layer.slow if slow else layer.parameters
            assert tensors is not None
            if layer.is_value:
                output = self.memory.floats(self.members, padded(rows))
                program.add(
                    "value", work=self.members * rows * layer.inputs, input=before, weights=tensors.weights,
                    bias=tensors.bias, values=output, members=self.members, rows=rows, inputs=layer.inputs,
                )  # fmt: skip
                break
            output = self.memory.floats(self.members, layer.panels, padded(rows), layer.width)
            is_shared = before is inputs and len(inputs) < self.members
            program.add(
                "dense", work=self.members * rows * layer.inputs * layer.outputs, input=before,
                weights=tensors.weights, bias=tensors.bias, output=output, members=self.members, rows=rows,
                inputs=layer.inputs, outputs=layer.outputs, width=layer.width,
                input_stride=0 if is_shared else before[0].size, relu=int(layer is not last),
            )  # fmt: skip
            if layer is not last:
                activations.append(output)
            before = output
        return Pass(inputs, activations, output, rows)

    def backward(
        self,
        program: Program,
        done: Pass,
        delta: Floats,
        *,
        lists: NDArray[np.int32] | None = None,
        counts: NDArray[np.int32] | None = None,
        rows: int | None = None,
    ) -> list[Floats]:
        """Add the way of a gradient back to the first layer's output.

        Args:
            program: Where the kernels are added.
            done: The evaluation.
            delta: Gradient at the output: values [members, padded rows], or panels.
            lists: Rows that have a gradient, [members, padded rows]; None for all.
            counts: Their number for every member.
            rows: Rows of the gradient, if fewer than of the evaluation.

        Returns:
            Gradients before the ReLU of every layer but the last, [members, panels, padded rows, 32].
        """
        rows = done.rows if rows is None else rows
        deltas: list[Floats] = []
        for layer, active in zip(reversed(self.layers[1:]), reversed(done.activations), strict=True):
            shape = (self.members, panels(layer.inputs), padded(rows), PANEL)
            output = self.memory.floats(*shape)
            if layer.is_value:
                program.add(
                    "value_back", delta=delta, weights=layer.parameters.weights, mask=active, output=output,
                    lists=lists, counts=counts, members=self.members, rows=rows, inputs=layer.inputs,
                )  # fmt: skip
            else:
                program.add(
                    "dense_back", work=self.members * rows * layer.inputs * layer.outputs, delta=delta,
                    turned=layer.turned, mask=active, output=output, lists=lists, counts=counts,
                    members=self.members, rows=rows, inputs=layer.inputs, outputs=layer.outputs,
                    delta_width=layer.width, width=PANEL, delta_stride=delta[0].size, mask_stride=active[0].size,
                    delta_rows=delta.shape[2],
                )  # fmt: skip
            deltas.insert(0, output)
            delta = output
        return deltas

    def backward_to_columns(
        self,
        program: Program,
        deltas: list[Floats],
        turned: Floats,
        columns: int,
        rows: int,
        *,
        lists: NDArray[np.int32] | None = None,
        counts: NDArray[np.int32] | None = None,
    ) -> Floats:
        """Add the gradient with respect to input columns, whose turned weights `turn_columns` makes.

        Returns:
            Panels [members, panels, padded rows, width].
        """
        width, layer = width_of(columns), self.layers[0]
        output = self.memory.floats(self.members, panels(columns, width), padded(rows), width)
        program.add(
            "dense_back", work=self.members * rows * columns * layer.outputs, delta=deltas[0], turned=turned, mask=None,
            output=output, lists=lists, counts=counts, members=self.members, rows=rows, inputs=columns,
            outputs=layer.outputs, delta_width=layer.width, width=width, delta_stride=deltas[0][0].size,
            mask_stride=0, delta_rows=deltas[0].shape[2],
        )  # fmt: skip
        return output

    def turn_columns(self, program: Program, first: int, columns: int) -> Floats:
        """Add the turned copy of columns of the first layer, and return it."""
        width, layer = width_of(columns), self.layers[0]
        turned = self.memory.floats(self.members, panels(columns, width), layer.outputs, width)
        program.add(
            "turn_inputs", weights=layer.parameters.weights, turned=turned, members=self.members,
            inputs=layer.inputs, outputs=layer.outputs, width=layer.width, first=first, columns=columns,
            turned_width=width,
        )  # fmt: skip
        return turned

    def step(
        self, program: Program, done: Pass, deltas: list[Floats], delta: Floats, numbers: Floats, rows: int
    ) -> None:
        """Add gradients of all parameters, Adam's step, and the step of the slow copies.

        Args:
            program: Where the kernels are added.
            done: The evaluation.
            deltas: What `backward` returned.
            delta: Gradient at the output.
            numbers: Of the step; see `step_numbers`.
            rows: Rows of the gradient.
        """
        befores = [done.inputs, *done.activations]
        for layer, before, after in zip(self.layers, befores, [*deltas, delta], strict=True):
            common = {
                "input": before,
                "delta": after,
                "weights": layer.parameters.weights,
                "bias": layer.parameters.bias,
                "weight_means": layer.means.weights,
                "weight_squares": layer.squares.weights,
                "bias_means": layer.means.bias,
                "bias_squares": layer.squares.bias,
                "slow_weights": None if layer.slow is None else layer.slow.weights,
                "slow_bias": None if layer.slow is None else layer.slow.bias,
                "squares": layer.squared_gradients,
                "step": numbers,
                "members": self.members,
                "rows": rows,
                "inputs": layer.inputs,
            }
            if layer.is_value:
                program.add("value_step", **common)
                continue
            is_shared = before is done.inputs and len(before) < self.members
            program.add(
                "dense_step", work=self.members * rows * layer.inputs * layer.outputs, turned=layer.turned,
                outputs=layer.outputs, width=layer.width, input_stride=0 if is_shared else before[0].size,
                input_rows=before.shape[2], **common,
            )  # fmt: skip

    def gradient_norm(self) -> float:
        """Return the Euclidean norm of the last gradient over all members and parameters."""
        return float(
            np.sqrt(
                sum(
                    np.add.reduce(layer.squared_gradients, axis=None, dtype=np.float64)
                    for layer in self.layers
                )
            )
        )

    def tensors(self) -> Iterator[tuple[Layer, Tensors, str]]:
        """Name every kind of parameter of every layer: `parameters`, `means`, `squares` and `slow`."""
        for layer in self.layers:
            yield layer, layer.parameters, "parameters"
            yield layer, layer.means, "means"
            yield layer, layer.squares, "squares"
            if layer.slow is not None:
                yield layer, layer.slow, "slow"


def power(base: float, exponent: int) -> float:
    """Return a whole power by products alone, which are the same on every processor."""
    result, factor = 1.0, base
    while exponent:
        if exponent % 2:
            result *= factor
        factor *= factor
        exponent //= 2
    return result


def step_numbers(
    out: Floats,
    *,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    tau: float,
) -> None:
    """Write the numbers of a step of Adam, as csrc/dense.cpp reads them.

    Args:
        out: Shape (8,).
        step: Counted from 1.
        learning_rate: At this step.
        betas: Decays of mean and square.
        epsilon: Of the denominator.
        weight_decay: Decoupled.
        tau: Weight of the parameters in their slow copies; 0 leaves these.
    """
    first, second = betas
    out[:] = (
        1.0 - first,
        second,
        1.0 - second,
        learning_rate / (1.0 - power(first, step)),
        1.0 / math.sqrt(1.0 - power(second, step)),
        epsilon,
        1.0 - learning_rate * weight_decay,
        tau,
    )
