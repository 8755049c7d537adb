"""Products of bfloat16: operands rounded and packed in words of two, csrc/tile_bf16.h; everything else is float32."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import KernelError
from sacpipe.kernels.layers import PANEL, Floats, Layer, padded, panels, width_of
from sacpipe.kernels.library import chosen_isa
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.products import (
    Array,
    Chosen,
    Operand,
    shape_arguments,
    step_arguments,
    stride,
    tensors_of,
)
from sacpipe.kernels.program import Program, signatures

Words = NDArray[np.uint32]
_NONE = Operand(None, None, 0)


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
    """A layer with copies of its weights that are rounded to bfloat16."""

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
        super().__init__(
            memory,
            members,
            inputs,
            outputs,
            width=width,
            is_value=is_value,
            has_slow=has_slow,
            is_turned=False,
        )

        def words(*shape: int) -> Words | None:
            return None if is_value else memory.words(members, *shape)

        self.packed = words(self.panels, padded(inputs) // 2, width)
        """Pairs of inputs: right operand forwards."""
        self.slow_packed = words(self.panels, padded(inputs) // 2, width) if has_slow else None
        self.packed_turned = words(panels(inputs), self.panels * width // 2, PANEL) if is_turned else None
        """Pairs of outputs: right operand backwards."""

    def turn(self) -> None:
        """Make the rounded copies from the parameters and the slow copies."""
        if self.packed is None:
            return
        self.packed[...] = pairs(self.parameters.weights, 2)
        if self.slow_packed is not None and self.slow is not None:
            self.slow_packed[...] = pairs(self.slow.weights, 2)
        if self.packed_turned is not None:
            outputs = self.panels * self.width
            full = self.parameters.weights.transpose(0, 1, 3, 2).reshape(
                self.members, outputs, padded(self.inputs)
            )
            wide = np.zeros((self.members, outputs, panels(self.inputs) * PANEL), dtype=np.float32)
            wide[:, :, : self.inputs] = full[:, :, : self.inputs]
            shape = (self.members, outputs // 2, panels(self.inputs), PANEL)
            self.packed_turned[...] = pairs(wide, 1).reshape(shape).transpose(0, 2, 1, 3)


class Bfloat16Products:
    """Operands in bfloat16.

    Raises:
        KernelError: the instruction set in use has no products of bfloat16.
    """

    layer_type = Bfloat16Layer

    def __init__(self, memory: Memory, members: int) -> None:
        if "dense_bf16" not in signatures():
            raise KernelError(
                "engine.precision: 'bfloat16' needs the instruction set avx512-bf16, and the kernels in use are "
                f"those for {chosen_isa()}. Write `precision: float32` in the section `engine` of params.yaml."
            )
        self._memory, self._members = memory, members

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

    def _made(self, features: int, rows: int, *, is_turned: bool) -> Operand:
        shape = (self._members, panels(features))
        return Operand(
            self._memory.words(*shape, padded(rows), PANEL // 2),
            self._memory.words(*shape, padded(rows) // 2, PANEL) if is_turned else None,
            padded(rows),
        )

    def _dense(
        self,
        program: Program,
        layer: Layer,
        before: Operand,
        rows: int,
        *,
        slow: bool,
        made: Operand = _NONE,
        floats: Floats | None = None,
        value: Layer | None = None,
    ) -> Floats | None:
        """Add a layer, and the values of the layer after it, if that is given. Returns the values."""
        assert isinstance(layer, Bfloat16Layer)
        after = None if value is None else tensors_of(value, slow=slow)
        values = None if value is None else self._memory.floats(self._members, padded(rows))
        program.add(
            "dense_bf16",
            input=before.left,
            weights=layer.slow_packed if slow else layer.packed,
            bias=tensors_of(layer, slow=slow).bias,
            output=made.left,
            output_turned=made.turned,
            floats=floats,
            value_weights=None if after is None else after.weights,
            value_bias=None if after is None else after.bias,
            values=values,
            width=layer.width,
            input_stride=stride(layer, before.left),
            **shape_arguments(layer, rows),
        )
        return values

    def hidden(
        self, program: Program, layer: Layer, before: Operand, rows: int, *, slow: bool, has_step: bool
    ) -> Operand:
        """See `Products.hidden`."""
        made = self._made(layer.outputs, rows, is_turned=has_step)
        self._dense(program, layer, before, rows, slow=slow, made=made)
        return made

    def last_layers(
        self,
        program: Program,
        layers: tuple[Layer, Layer],
        before: Operand,
        rows: int,
        *,
        slow: bool,
        has_step: bool,
    ) -> tuple[Operand, Floats]:
        """See `Products.last_layers`."""
        hidden, last = layers
        made = self._made(hidden.outputs, rows, is_turned=has_step)
        value = last if last.is_value else None
        values = self._dense(program, hidden, before, rows, slow=slow, made=made, value=value)
        if values is not None:
            return made, values
        output = self._memory.floats(self._members, last.panels, padded(rows), last.width)
        self._dense(program, last, made, rows, slow=slow, floats=output)
        return made, output

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, chosen: Chosen
    ) -> Operand:
        """See `Products.value_back`."""
        made = self._made(layer.inputs, chosen.rows, is_turned=chosen.lists is None)
        program.add(
            "value_back_bf16",
            delta=delta,
            weights=layer.parameters.weights,
            mask=active.left,
            output=made.left,
            output_turned=made.turned,
            members=self._members,
            inputs=layer.inputs,
            **chosen.arguments(),
        )
        return made

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, chosen: Chosen
    ) -> Operand:
        """See `Products.hidden_back`."""
        assert isinstance(layer, Bfloat16Layer)
        made = self._made(layer.inputs, chosen.rows, is_turned=chosen.lists is None)
        program.add(
            "dense_back_bf16",
            work=self._members * chosen.rows * layer.inputs * layer.outputs,
            delta=delta.left,
            turned=layer.packed_turned,
            mask=active.left,
            output=made.left,
            output_turned=made.turned,
            floats=None,
            members=self._members,
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
        self, program: Program, layer: Layer, delta: Operand, turned: Array, columns: int, chosen: Chosen
    ) -> Floats:
        """See `Products.columns_back`."""
        width = width_of(columns)
        output = self._memory.floats(self._members, panels(columns, width), padded(chosen.rows), width)
        program.add(
            "dense_back_bf16",
            work=self._members * chosen.rows * columns * layer.outputs,
            delta=delta.left,
            turned=turned,
            mask=None,
            output=None,
            output_turned=None,
            floats=output,
            members=self._members,
            inputs=columns,
            outputs=layer.outputs,
            delta_width=layer.width,
            width=width,
            delta_rows=delta.height,
            mask_rows=0,
            **chosen.arguments(),
        )
        return output

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> Array:
        """See `Products.turn_columns`."""
        width, words = width_of(columns), layer.panels * layer.width // 2
        turned = self._memory.words(self._members, panels(columns, width), words, width)
        program.add(
            "turn_inputs_bf16",
            weights=layer.parameters.weights,
            turned=turned,
            members=self._members,
            inputs=layer.inputs,
            outputs=layer.outputs,
            width=layer.width,
            first=first,
            columns=columns,
            turned_width=width,
        )
        return turned

    def step(
        self, program: Program, layer: Layer, before: Operand, delta: Operand, numbers: Floats, rows: int
    ) -> None:
        """See `Products.step`."""
        assert isinstance(layer, Bfloat16Layer)
        program.add(
            "dense_step_bf16",
            input=before.turned,
            delta=delta.turned,
            packed=layer.packed,
            slow_packed=layer.slow_packed,
            turned=layer.packed_turned,
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
            members=self._members,
            rows=rows,
            inputs=layer.inputs,
            **step_arguments(layer, numbers),
        )
