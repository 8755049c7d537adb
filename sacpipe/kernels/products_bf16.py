"""Products of bfloat16: operands rounded and packed in words of two, csrc/tile_bf16.h; everything else is float32."""

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import KernelError
from sacpipe.kernels.layers import PANEL, Floats, Layer, padded, panels, width_of
from sacpipe.kernels.library import chosen_isa
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.products import Array, Operand, Rows, shared_stride, step_arguments
from sacpipe.kernels.program import Program, signatures

Words = NDArray[np.uint32]


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
                f"engine.precision: 'bfloat16' needs the instruction set avx512-bf16, and the kernels in use are for "
                f"{chosen_isa()}. Write `precision: float32` in the section `engine` of params.yaml."
            )
        self._memory, self._members = memory, members

    def operand(self, program: Program, values: Floats, rows: int, *, turned: bool = False) -> Operand:
        parts, count, height, width = values.shape
        made = Operand(
            self._memory.words(parts, count, height, width // 2),
            self._memory.words(parts, count, height // 2, width) if turned else None,
            height,
        )
        program.add(
            "round_bf16", input=values, output=made.rows, output_turned=made.turned, parts=parts, rows=height,
            features=count * width, width=width,
        )  # fmt: skip
        return made

    def _made(self, features: int, rows: int, *, turned: bool) -> Operand:
        shape = (self._members, panels(features))
        return Operand(
            self._memory.words(*shape, padded(rows), PANEL // 2),
            self._memory.words(*shape, padded(rows) // 2, PANEL) if turned else None,
            padded(rows),
        )

    def _dense(
        self,
        program: Program,
        layer: Layer,
        before: Operand,
        made: Operand | None,
        rows: int,
        *,
        slow: bool,
        floats: Floats | None = None,
        value: Layer | None = None,
    ) -> Floats | None:
        """Add a layer, and the values of the layer after it if that has one output. Returns the values."""
        assert isinstance(layer, Bfloat16Layer)
        tensors, packed = (layer.slow, layer.slow_packed) if slow else (layer.parameters, layer.packed)
        value_tensors = None if value is None else value.slow if slow else value.parameters
        values = None if value is None else self._memory.floats(self._members, padded(rows))
        assert tensors is not None
        program.add(
            "dense_bf16", work=self._members * rows * layer.inputs * layer.outputs, input=before.rows,
            weights=packed, bias=tensors.bias, output=None if made is None else made.rows,
            output_turned=None if made is None else made.turned, floats=floats,
            value_weights=None if value_tensors is None else value_tensors.weights,
            value_bias=None if value_tensors is None else value_tensors.bias, values=values,
            members=self._members, rows=rows, inputs=layer.inputs, outputs=layer.outputs, width=layer.width,
            input_stride=shared_stride(layer, before.rows),
        )  # fmt: skip
        return values

    def hidden(self, program: Program, layer: Layer, before: Operand, rows: int, *, slow: bool) -> Operand:
        made = self._made(layer.outputs, rows, turned=not slow)
        self._dense(program, layer, before, made, rows, slow=slow)
        return made

    def last_layers(
        self, program: Program, layer: Layer, last: Layer, before: Operand, rows: int, *, slow: bool
    ) -> tuple[Operand, Floats]:
        made = self._made(layer.outputs, rows, turned=not slow)
        values = self._dense(
            program, layer, before, made, rows, slow=slow, value=last if last.is_value else None
        )
        if values is not None:
            return made, values
        output = self._memory.floats(self._members, last.panels, padded(rows), last.width)
        self._dense(program, last, made, None, rows, slow=slow, floats=output)
        return made, output

    def value_back(
        self, program: Program, layer: Layer, delta: Floats, active: Operand, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Operand:  # fmt: skip
        made = self._made(layer.inputs, rows, turned=lists is None)
        program.add(
            "value_back_bf16", delta=delta, weights=layer.parameters.weights, mask=active.rows, output=made.rows,
            output_turned=made.turned, lists=lists, counts=counts, members=self._members, rows=rows,
            inputs=layer.inputs,
        )  # fmt: skip
        return made

    def hidden_back(
        self, program: Program, layer: Layer, delta: Operand, active: Operand, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Operand:  # fmt: skip
        assert isinstance(layer, Bfloat16Layer)
        made = self._made(layer.inputs, rows, turned=lists is None)
        program.add(
            "dense_back_bf16", work=self._members * rows * layer.inputs * layer.outputs, delta=delta.rows,
            turned=layer.packed_turned, mask=active.rows, output=made.rows, output_turned=made.turned, floats=None,
            lists=lists, counts=counts, members=self._members, rows=rows, inputs=layer.inputs,
            outputs=layer.outputs, delta_width=layer.width, width=PANEL, delta_rows=delta.height,
            mask_rows=active.height,
        )  # fmt: skip
        return made

    def columns_back(
        self, program: Program, layer: Layer, delta: Operand, turned: Array, columns: int, rows: int,
        lists: Rows | None, counts: Rows | None,
    ) -> Floats:  # fmt: skip
        width = width_of(columns)
        output = self._memory.floats(self._members, panels(columns, width), padded(rows), width)
        program.add(
            "dense_back_bf16", work=self._members * rows * columns * layer.outputs, delta=delta.rows, turned=turned,
            mask=None, output=None, output_turned=None, floats=output, lists=lists, counts=counts,
            members=self._members, rows=rows, inputs=columns, outputs=layer.outputs, delta_width=layer.width,
            width=width, delta_rows=delta.height, mask_rows=0,
        )  # fmt: skip
        return output

    def turn_columns(self, program: Program, layer: Layer, first: int, columns: int) -> Array:
        width = width_of(columns)
        turned = self._memory.words(
            self._members, panels(columns, width), layer.panels * layer.width // 2, width
        )
        program.add(
            "turn_inputs_bf16", weights=layer.parameters.weights, turned=turned, members=self._members,
            inputs=layer.inputs, outputs=layer.outputs, width=layer.width, first=first, columns=columns,
            turned_width=width,
        )  # fmt: skip
        return turned

    def step(
        self, program: Program, layer: Layer, before: Operand, delta: Operand, numbers: Floats, rows: int
    ) -> None:
        assert isinstance(layer, Bfloat16Layer) and before.turned is not None
        program.add(
            "dense_step_bf16", work=self._members * rows * layer.inputs * layer.outputs, input=before.turned,
            delta=delta.turned, packed=layer.packed, slow_packed=layer.slow_packed, turned=layer.packed_turned,
            outputs=layer.outputs, width=layer.width, input_stride=shared_stride(layer, before.turned),
            input_rows=before.height, **step_arguments(layer, numbers, rows),
        )  # fmt: skip

    def value_step(
        self, program: Program, layer: Layer, before: Operand, delta: Floats, numbers: Floats, rows: int
    ) -> None:
        program.add(
            "value_step_bf16", input=before.turned, delta=delta, **step_arguments(layer, numbers, rows)
        )
