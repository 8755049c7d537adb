"""The kernels of one layer: forwards, backwards, and its step.

`Float32Products` has operands in float32. What differs in another precision is named by `Products`.
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.layers import PANEL, Floats, Layer, padded, panels, width_of
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.program import Argument, Program

Array = NDArray[np.generic]
Rows = NDArray[np.int32]


class Operand(NamedTuple):
    """A matrix [parts, rows, features] as products take it."""

    rows: Array
    """Panels; left operand of the products forwards and backwards."""
    turned: Array | None
    """Panels; operand of the weights' gradient. None where there is no step."""
    height: int
    """Padded rows of a panel."""


class Products(Protocol):
    """Adds the kernels of layers with one precision of the operands to programs."""

    layer_type: type[Layer]

    def operand(self, program: Program, values: Floats, rows: int, *, turned: bool = False) -> Operand:
        """Return float32 panels [parts, panels, padded rows, width] as operand."""

    def hidden(self, program: Program, layer: Layer, before: Operand, rows: int, *, slow: bool) -> Operand:
        """Add a layer with its ReLU."""

    def last_layers(
        self, program: Program, layer: Layer, last: Layer, before: Operand, rows: int, *, slow: bool
    ) -> tuple[Operand, Floats]:
        """Add the last layer with a ReLU and the layer after it. Returns what both give."""

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Operand:  # fmt: skip
        """Add the way back through a layer of one output and the ReLU before it."""

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Operand:  # fmt: skip
        """Add the way back through a layer and the ReLU before it."""

    def columns_back(
        self, program: Program, layer: Layer, delta: Operand, turned: Array, columns: int, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Floats:  # fmt: skip
        """Add the way back to columns of the inputs."""

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> Array:
        """Add the copy of weights that `columns_back` takes."""

    def step(
        self, program: Program, layer: Layer, before: Operand, delta: Operand, numbers: Floats, rows: int
    ) -> None:
        """Add the step of a layer."""

    def value_step(
        self, program: Program, layer: Layer, before: Operand, delta: Floats, numbers: Floats, rows: int
    ) -> None:
        """Add the step of a layer of one output."""


def step_arguments(layer: Layer, numbers: Floats, rows: int) -> dict[str, Argument]:
    """Return the arguments that all kernels of steps have."""
    slow = layer.slow
    return {
        "weights": layer.parameters.weights,
        "bias": layer.parameters.bias,
        "weight_means": layer.means.weights,
        "weight_squares": layer.squares.weights,
        "bias_means": layer.means.bias,
        "bias_squares": layer.squares.bias,
        "slow_weights": None if slow is None else slow.weights,
        "slow_bias": None if slow is None else slow.bias,
        "squares": layer.squared_gradients,
        "step": numbers,
        "members": layer.members,
        "rows": rows,
        "inputs": layer.inputs,
    }


def shared_stride(layer: Layer, array: Array) -> int:
    """Return the words from one member to the next; 0 where all members have the same input."""
    return 0 if len(array) < layer.members else array[0].size


class Float32Products:
    """Operands in float32: the panels of numbers themselves, for every product."""

    layer_type = Layer

    def __init__(self, memory: Memory, members: int) -> None:
        self._memory, self._members = memory, members

    def operand(self, program: Program, values: Floats, rows: int, *, turned: bool = False) -> Operand:
        return Operand(values, values, values.shape[2])

    def _made(self, features: int, rows: int) -> Operand:
        panels_of = self._memory.floats(self._members, panels(features), padded(rows), PANEL)
        return Operand(panels_of, panels_of, padded(rows))

    def _dense(
        self,
        program: Program,
        layer: Layer,
        before: Operand,
        output: Array,
        rows: int,
        *,
        slow: bool,
        relu: bool,
    ) -> None:
        tensors = layer.slow if slow else layer.parameters
        assert tensors is not None
        program.add(
            "dense", work=self._members * rows * layer.inputs * layer.outputs, input=before.rows,
            weights=tensors.weights, bias=tensors.bias, output=output, members=self._members, rows=rows,
            inputs=layer.inputs, outputs=layer.outputs, width=layer.width,
            input_stride=shared_stride(layer, before.rows), relu=int(relu),
        )  # fmt: skip

    def hidden(self, program: Program, layer: Layer, before: Operand, rows: int, *, slow: bool) -> Operand:
        made = self._made(layer.outputs, rows)
        self._dense(program, layer, before, made.rows, rows, slow=slow, relu=True)
        return made

    def last_layers(
        self, program: Program, layer: Layer, last: Layer, before: Operand, rows: int, *, slow: bool
    ) -> tuple[Operand, Floats]:
        made = self.hidden(program, layer, before, rows, slow=slow)
        if not last.is_value:
            output = self._memory.floats(self._members, last.panels, padded(rows), last.width)
            self._dense(program, last, made, output, rows, slow=slow, relu=False)
            return made, output
        tensors = last.slow if slow else last.parameters
        assert tensors is not None
        values = self._memory.floats(self._members, padded(rows))
        program.add(
            "value", work=self._members * rows * last.inputs, input=made.rows, weights=tensors.weights,
            bias=tensors.bias, values=values, members=self._members, rows=rows, inputs=last.inputs,
        )  # fmt: skip
        return made, values

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Operand:  # fmt: skip
        made = self._made(layer.inputs, rows)
        program.add(
            "value_back", delta=delta, weights=layer.parameters.weights, mask=active.rows, output=made.rows,
            lists=lists, counts=counts, members=self._members, rows=rows, inputs=layer.inputs,
        )  # fmt: skip
        return made

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Operand:  # fmt: skip
        made = self._made(layer.inputs, rows)
        program.add(
            "dense_back", work=self._members * rows * layer.inputs * layer.outputs, delta=delta.rows,
            turned=layer.turned, mask=active.rows, output=made.rows, lists=lists, counts=counts,
            members=self._members, rows=rows, inputs=layer.inputs, outputs=layer.outputs, delta_width=layer.width,
            width=PANEL, delta_stride=delta.rows[0].size, mask_stride=active.rows[0].size, delta_rows=delta.height,
        )  # fmt: skip
        return made

    def columns_back(
        self, program: Program, layer: Layer, delta: Operand, turned: Array, columns: int, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Floats:  # fmt: skip
        width = width_of(columns)
        output = self._memory.floats(self._members, panels(columns, width), padded(rows), width)
        program.add(
            "dense_back", work=self._members * rows * columns * layer.outputs, delta=delta.rows, turned=turned,
            mask=None, output=output, lists=lists, counts=counts, members=self._members, rows=rows, inputs=columns,
            outputs=layer.outputs, delta_width=layer.width, width=width, delta_stride=delta.rows[0].size,
            mask_stride=0, delta_rows=delta.height,
        )  # fmt: skip
        return output

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> Array:
        width = width_of(columns)
        turned = self._memory.floats(self._members, panels(columns, width), layer.outputs, width)
        program.add(
            "turn_inputs", weights=layer.parameters.weights, turned=turned, members=self._members,
            inputs=layer.inputs, outputs=layer.outputs, width=layer.width, first=first, columns=columns,
            turned_width=width,
        )  # fmt: skip
        return turned

    def step(
        self, program: Program, layer: Layer, before: Operand, delta: Operand, numbers: Floats, rows: int
    ) -> None:
        program.add(
            "dense_step", work=self._members * rows * layer.inputs * layer.outputs, input=before.turned,
            delta=delta.turned, turned=layer.turned, outputs=layer.outputs, width=layer.width,
            input_stride=shared_stride(layer, before.rows), input_rows=before.height,
            **step_arguments(layer, numbers, rows),
        )  # fmt: skip

    def value_step(
        self, program: Program, layer: Layer, before: Operand, delta: Floats, numbers: Floats, rows: int
    ) -> None:
        program.add("value_step", input=before.turned, delta=delta, **step_arguments(layer, numbers, rows))
