"""The kernels of one layer: forwards, backwards, and its step.

`Products` says what a precision of the operands gives; `Float32Products` is that of float32.
"""

from typing import Any, Protocol

from sacpipe.kernels.layers import PANEL, Array, Floats, Layer, padded, panels, width_of
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.normalisation import normalise, normalise_back, normalise_step
from sacpipe.kernels.operands import (
    Chosen,
    Evaluation,
    Operand,
    TurnedColumns,
    shape_arguments,
    step_arguments,
    stride,
    tensors_of,
)
from sacpipe.kernels.program import Program


class Products(Protocol):
    """Adds the kernels of layers to programs, with one precision of the operands."""

    layer_type: type[Layer]

    def operand(
        self, program: Program, values: Floats, *, is_left: bool = False, is_turned: bool = False
    ) -> Operand:
        """Return panels [parts, panels, padded rows, width] as operand of the products that follow."""

    def hidden(self, program: Program, layer: Layer, before: Operand, how: Evaluation) -> Operand:
        """Add a layer with its normalisation, if it has one, and its ReLU."""

    def last_layers(
        self, program: Program, layers: tuple[Layer, Layer], before: Operand, how: Evaluation
    ) -> tuple[Operand, Floats]:
        """Add the last layer with a ReLU and the layer after it. Returns what each gives."""

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, chosen: Chosen
    ) -> Operand:
        """Add the gradient backwards through a layer of one output, and ReLU and normalisation before it."""

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, chosen: Chosen
    ) -> Operand:
        """Add the gradient backwards through a layer, and ReLU and normalisation before it."""

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> TurnedColumns:
        """Add a copy of the weights of some inputs, which `columns_back` takes."""

    def columns_back(
        self, program: Program, layer: Layer, delta: Operand, turned: TurnedColumns, chosen: Chosen
    ) -> Floats:
        """Add the gradient with respect to some inputs, [members, panels, padded rows, width]."""

    def step(
        self, program: Program, layer: Layer, before: Operand, delta: Operand, numbers: Floats, rows: int
    ) -> None:
        """Add the step of a layer and of its normalisation."""

    def value_step(
        self, program: Program, layer: Layer, before: Operand, delta: Floats, numbers: Floats, rows: int
    ) -> None:
        """Add the step of a layer of one output."""


class Float32Products:
    """Operands in float32: the panels themselves, for every product."""

    layer_type: type[Layer] = Layer

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def operand(
        self, program: Program, values: Floats, *, is_left: bool = False, is_turned: bool = False
    ) -> Operand:
        """See `Products.operand`."""
        del program, is_left, is_turned
        return Operand(values, values, values.shape[2])

    def _made(self, members: int, features: int, rows: int) -> Operand:
        values = self._memory.floats(members, panels(features), padded(rows), PANEL)
        return Operand(values, values, padded(rows))

    def _dense(
        self,
        program: Program,
        layer: Layer,
        before: Operand,
        output: Array | None,
        how: Evaluation,
        *,
        relu: bool,
    ) -> None:
        program.add(
            "dense",
            input=before.left,
            weights=layer.slow_right if how.slow else layer.right,
            bias=tensors_of(layer, slow=how.slow).bias,
            output=output,
            width=layer.width,
            input_stride=stride(layer, before.left),
            relu=int(relu),
            **shape_arguments(layer, how.rows),
        )

    def hidden(self, program: Program, layer: Layer, before: Operand, how: Evaluation) -> Operand:
        """See `Products.hidden`."""
        rows = padded(how.rows)
        values = self._memory.floats(layer.members, layer.panels, rows, PANEL)
        self._dense(program, layer, before, values, how, relu=layer.norm is None)
        if layer.norm is None:
            return Operand(values, values, rows)
        return normalise(program, self._memory, layer.norm, values, how)

    def last_layers(
        self, program: Program, layers: tuple[Layer, Layer], before: Operand, how: Evaluation
    ) -> tuple[Operand, Floats]:
        """See `Products.last_layers`."""
        hidden, last = layers
        made = self.hidden(program, hidden, before, how)
        if not last.is_value:
            output = self._memory.floats(last.members, last.panels, padded(how.rows), last.width)
            self._dense(program, last, made, output, how, relu=False)
            return made, output
        tensors = tensors_of(last, slow=how.slow)
        values = self._memory.floats(last.members, padded(how.rows))
        program.add(
            "value",
            work=last.members * how.rows * last.inputs,
            input=made.left,
            weights=tensors.weights,
            bias=tensors.bias,
            values=values,
            members=last.members,
            rows=how.rows,
            inputs=last.inputs,
        )
        return made, values

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, chosen: Chosen
    ) -> Operand:
        """See `Products.value_back`."""
        made = self._made(layer.members, layer.inputs, chosen.rows)
        program.add(
            "value_back",
            delta=delta,
            weights=layer.parameters.weights,
            mask=active.left,
            output=made.left,
            members=layer.members,
            inputs=layer.inputs,
            **chosen.arguments(),
        )
        return normalise_back(program, self._memory, made, active, chosen)

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, chosen: Chosen
    ) -> Operand:
        """See `Products.hidden_back`."""
        made = self._made(layer.members, layer.inputs, chosen.rows)
        self._back(
            program,
            layer,
            delta,
            chosen,
            turned=layer.turned,
            mask=active.left,
            mask_stride=stride(layer, active.left),
            output=made.left,
            width=PANEL,
            inputs=layer.inputs,
            work=layer.members * chosen.rows * layer.inputs * layer.outputs,
        )
        return normalise_back(program, self._memory, made, active, chosen)

    def columns_back(
        self, program: Program, layer: Layer, delta: Operand, turned: TurnedColumns, chosen: Chosen
    ) -> Floats:
        """See `Products.columns_back`."""
        columns, width = turned.columns, width_of(turned.columns)
        output = self._memory.floats(layer.members, panels(columns, width), padded(chosen.rows), width)
        self._back(
            program,
            layer,
            delta,
            chosen,
            turned=turned.weights,
            mask=None,
            mask_stride=0,
            output=output,
            width=width,
            inputs=columns,
            work=layer.members * chosen.rows * columns * layer.outputs,
        )
        return output

    def _back(self, program: Program, layer: Layer, delta: Operand, chosen: Chosen, **arguments: Any) -> None:
        program.add(
            "dense_back",
            delta=delta.left,
            members=layer.members,
            outputs=layer.outputs,
            delta_width=layer.width,
            delta_stride=stride(layer, delta.left),
            delta_rows=delta.height,
            **chosen.arguments(),
            **arguments,
        )

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> TurnedColumns:
        """See `Products.turn_columns`."""
        width = width_of(columns)
        turned = self._memory.floats(layer.members, panels(columns, width), layer.outputs, width)
        program.add(
            "turn_inputs",
            weights=layer.parameters.weights,
            turned=turned,
            members=layer.members,
            inputs=layer.inputs,
            outputs=layer.outputs,
            width=layer.width,
            first=first,
            columns=columns,
            turned_width=width,
        )
        return TurnedColumns(turned, columns)

    def step(
        self, program: Program, layer: Layer, before: Operand, delta: Operand, numbers: Floats, rows: int
    ) -> None:
        """See `Products.step`."""
        program.add(
            "dense_step",
            input=before.turned,
            delta=delta.turned,
            turned=layer.turned,
            width=layer.width,
            input_stride=stride(layer, before.turned),
            input_rows=before.height,
            **shape_arguments(layer, rows),
            **step_arguments(layer, numbers),
        )
        normalise_step(program, delta, numbers, rows)

    def value_step(
        self, program: Program, layer: Layer, before: Operand, delta: Floats, numbers: Floats, rows: int
    ) -> None:
        """See `Products.value_step`."""
        program.add(
            "value_step",
            input=before.turned,
            delta=delta,
            members=layer.members,
            rows=rows,
            inputs=layer.inputs,
            **step_arguments(layer, numbers),
        )
