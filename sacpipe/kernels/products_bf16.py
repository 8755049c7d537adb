"""Products of bfloat16: their operands are rounded and packed in words of two, csrc/tile_bf16.h."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import KernelError
from sacpipe.kernels.layers import PANEL, Floats, Layer, padded, panels, width_of
from sacpipe.kernels.library import chosen_isa
from sacpipe.kernels.memory import Memory
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
from sacpipe.kernels.program import Program, signatures

Words = NDArray[np.uint32]
_OUTPUTS = ("output", "output_turned", "floats", "value_weights", "value_bias", "values")


def rounded(values: Floats) -> Words:
    """Return the nearest bfloat16 of each number, ties to even, as whole numbers; denormals become zero."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) >> np.uint32(16)
    return np.where(bits & np.uint32(0x7F800000), near, bits >> np.uint32(16) & np.uint32(0x8000)).astype(
        np.uint32
    )


def pairs(values: Floats, axis: int) -> Words:
    """Return words of two neighbours along an axis, which has an even number of them."""
    moved = np.moveaxis(rounded(values), axis, 0)
    return np.moveaxis(moved[::2] | moved[1::2] << np.uint32(16), 0, axis)


class Bfloat16Layer(Layer):
    """A layer whose operands are copies of its weights that are rounded to bfloat16."""

    def _make_operands(self, memory: Memory, *, is_turned: bool) -> None:
        forwards = (self.members, self.panels, padded(self.inputs) // 2, self.width)
        self.right = memory.words(*forwards)
        self.slow_right = None if self.slow is None else memory.words(*forwards)
        if is_turned:
            outputs = self.panels * self.width
            self.turned = memory.words(self.members, panels(self.inputs), outputs // 2, PANEL)

    def turn(self) -> None:
        """Make the rounded copies from the parameters and the slow copies."""
        if self.right is None:
            return
        self.right[...] = pairs(self.parameters.weights, 2)
        if self.slow_right is not None:
            self.slow_right[...] = pairs(tensors_of(self, slow=True).weights, 2)
        if self.turned is not None:
            outputs, inputs = self.panels * self.width, padded(self.inputs)
            full = self.parameters.weights.transpose(0, 1, 3, 2).reshape(self.members, outputs, inputs)
            wide = np.zeros((self.members, outputs, panels(self.inputs) * PANEL), dtype=np.float32)
            wide[:, :, :inputs] = full
            shape = (self.members, outputs // 2, panels(self.inputs), PANEL)
            self.turned[...] = pairs(wide, 1).reshape(shape).transpose(0, 2, 1, 3)


class Bfloat16Products:
    """Operands in bfloat16.

    Raises:
        KernelError: the instruction set in use has no products of bfloat16.
    """

    layer_type: type[Layer] = Bfloat16Layer

    def __init__(self, memory: Memory) -> None:
        if "dense_bf16" not in signatures():
            raise KernelError(
                "engine.precision: 'bfloat16' needs the instruction set avx512-bf16, and the kernels in use "
                f"are those for {chosen_isa()}. Write `precision: float32` in the section `engine` of "
                "params.yaml."
            )
        self._memory = memory

    def operand(
        self, program: Program, values: Floats, *, is_left: bool = False, is_turned: bool = False
    ) -> Operand:
        """See `Products.operand`."""
        parts, count, height, width = values.shape
        made = Operand(
            self._memory.words(parts, count, height, width // 2) if is_left else None,
            self._memory.words(parts, count, height // 2, width) if is_turned else None,
            height,
        )
        program.add(
            "round_bf16",
            input=values,
            output=made.left,
            output_turned=made.turned,
            parts=parts,
            rows=height,
            features=count * width,
            width=width,
        )
        return made

    def _made(self, members: int, features: int, rows: int, *, is_turned: bool) -> Operand:
        shape = (members, panels(features))
        return Operand(
            self._memory.words(*shape, padded(rows), PANEL // 2),
            self._memory.words(*shape, padded(rows) // 2, PANEL) if is_turned else None,
            padded(rows),
        )

    def _dense(
        self, program: Program, layer: Layer, before: Operand, how: Evaluation, **outputs: Any
    ) -> None:
        written: dict[str, Any] = dict.fromkeys(_OUTPUTS) | outputs
        program.add(
            "dense_bf16",
            input=before.left,
            weights=layer.slow_right if how.slow else layer.right,
            bias=tensors_of(layer, slow=how.slow).bias,
            width=layer.width,
            input_stride=stride(layer, before.left),
            **shape_arguments(layer, how.rows),
            **written,
        )

    def hidden(self, program: Program, layer: Layer, before: Operand, how: Evaluation) -> Operand:
        """See `Products.hidden`."""
        made = self._made(layer.members, layer.outputs, how.rows, is_turned=how.has_step)
        self._dense(program, layer, before, how, output=made.left, output_turned=made.turned)
        return made

    def last_layers(
        self, program: Program, layers: tuple[Layer, Layer], before: Operand, how: Evaluation
    ) -> tuple[Operand, Floats]:
        """See `Products.last_layers`."""
        hidden, last = layers
        if not last.is_value:
            made = self.hidden(program, hidden, before, how)
            output = self._memory.floats(last.members, last.panels, padded(how.rows), last.width)
            self._dense(program, last, made, how, floats=output)
            return made, output
        if how.slow:  # only the values are used
            made = Operand(None, None, padded(how.rows))
        else:
            made = self._made(hidden.members, hidden.outputs, how.rows, is_turned=how.has_step)
        values, tensors = (
            self._memory.floats(last.members, padded(how.rows)),
            tensors_of(last, slow=how.slow),
        )
        self._dense(
            program,
            hidden,
            before,
            how,
            output=made.left,
            output_turned=made.turned,
            value_weights=tensors.weights,
            value_bias=tensors.bias,
            values=values,
        )
        return made, values

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, chosen: Chosen
    ) -> Operand:
        """See `Products.value_back`."""
        made = self._made(layer.members, layer.inputs, chosen.rows, is_turned=chosen.lists is None)
        program.add(
            "value_back_bf16",
            delta=delta,
            weights=layer.parameters.weights,
            mask=active.left,
            output=made.left,
            output_turned=made.turned,
            members=layer.members,
            inputs=layer.inputs,
            **chosen.arguments(),
        )
        return made

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, chosen: Chosen
    ) -> Operand:
        """See `Products.hidden_back`."""
        made = self._made(layer.members, layer.inputs, chosen.rows, is_turned=chosen.lists is None)
        program.add(
            "dense_back_bf16",
            work=layer.members * chosen.rows * layer.inputs * layer.outputs,
            delta=delta.left,
            turned=layer.turned,
            mask=active.left,
            output=made.left,
            output_turned=made.turned,
            floats=None,
            members=layer.members,
            inputs=layer.inputs,
            outputs=layer.outputs,
            delta_width=layer.width,
            width=PANEL,
            delta_rows=delta.height,
            mask_rows=active.height,
            **chosen.arguments(),
        )
        return made

    def columns_back(
        self, program: Program, layer: Layer, delta: Operand, turned: TurnedColumns, chosen: Chosen
    ) -> Floats:
        """See `Products.columns_back`."""
        columns, width = turned.columns, width_of(turned.columns)
        output = self._memory.floats(layer.members, panels(columns, width), padded(chosen.rows), width)
        program.add(
            "dense_back_bf16",
            work=layer.members * chosen.rows * columns * layer.outputs,
            delta=delta.left,
            turned=turned.weights,
            mask=None,
            output=None,
            output_turned=None,
            floats=output,
            members=layer.members,
            inputs=columns,
            outputs=layer.outputs,
            delta_width=layer.width,
            width=width,
            delta_rows=delta.height,
            mask_rows=0,
            **chosen.arguments(),
        )
        return output

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> TurnedColumns:
        """See `Products.turn_columns`."""
        width, words = width_of(columns), layer.panels * layer.width // 2
        turned = self._memory.words(layer.members, panels(columns, width), words, width)
        program.add(
            "turn_inputs_bf16",
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
            "dense_step_bf16",
            input=before.turned,
            delta=delta.turned,
            packed=layer.right,
            slow_packed=layer.slow_right,
            turned=layer.turned,
            width=layer.width,
            input_stride=stride(layer, before.turned),
            input_rows=before.height,
            **shape_arguments(layer, rows),
            **step_arguments(layer, numbers),
        )

    def value_step(
        self, program: Program, layer: Layer, before: Operand, delta: Floats, numbers: Floats, rows: int
    ) -> None:
        """See `Products.value_step`."""
        program.add(
            "value_step_bf16",
            input=before.turned,
            delta=delta,
            members=layer.members,
            rows=rows,
            inputs=layer.inputs,
            **step_arguments(layer, numbers),
        )
