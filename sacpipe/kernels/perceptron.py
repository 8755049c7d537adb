"""Stacks of perceptrons: their layers, and the kernels of their passes."""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError
from sacpipe.kernels.layers import PANEL, Floats, Part, Shape, Tensors, padded, panels, width_of
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.operands import Chosen, Evaluation, Operand, TurnedColumns
from sacpipe.kernels.products import Float32Products, Products
from sacpipe.kernels.products_bf16 import Bfloat16Products
from sacpipe.kernels.program import Program

__all__ = [
    "PANEL",
    "Floats",
    "NormalisedPerceptrons",
    "Pass",
    "Perceptrons",
    "padded",
    "panels",
    "power",
    "step_numbers",
]

PRODUCTS: dict[str, Callable[[Memory], Products]] = {
    "float32": Float32Products,
    "bfloat16": Bfloat16Products,
}
"""By precision."""


class Pass(NamedTuple):
    """Arrays of one evaluation of a stack."""

    inputs: Floats
    operand: Operand
    """The inputs as products take them."""
    activations: list[Operand]
    """After every layer but the last."""
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
        precision: Of the products' operands: `float32` or `bfloat16`.

    Raises:
        ConfigError: normalisations have no products of this precision.
        KernelError: this processor's kernels have no products of this precision.
    """

    has_norms: ClassVar[bool] = False
    """Whether rows are normalised before every ReLU."""

    def __init__(
        self,
        memory: Memory,
        members: int,
        dims: Sequence[int],
        *,
        has_slow: bool,
        is_critic: bool,
        precision: str = "float32",
    ) -> None:
        if self.has_norms and precision != "float32":
            raise ConfigError(
                "engine.precision: expected 'float32' for the trunk 'layer_norm_mlp', found "
                f"'{precision}': normalisations have kernels in float32 alone. Write `precision: float32` in "
                "the section `engine` of params.yaml."
            )
        self.memory, self.members, self.dims = memory, members, tuple(dims)
        self._products = PRODUCTS[precision](memory)
        last = len(dims) - 2
        self.layers = [
            self._products.layer_type(
                memory,
                members,
                Shape(
                    inputs=dims[index],
                    outputs=dims[index + 1],
                    width=width_of(dims[index + 1]) if index == last and not is_critic else PANEL,
                    is_value=is_critic and index == last,
                    has_slow=has_slow,
                    is_turned=index > 0,
                    has_norm=self.has_norms and index < last,
                ),
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

    def forward(
        self, program: Program, inputs: Floats, rows: int, *, slow: bool = False, has_step: bool = True
    ) -> Pass:
        """Add the evaluation of inputs, by the parameters or by their slow copies.

        Args:
            program: Where the kernels are added.
            inputs: Panels, [members or 1, panels, padded rows, 32]; 1 where all members see the same.
            rows: Of the inputs.
            slow: Whether the slow copies evaluate; then no gradient follows.
            has_step: Whether `step` may follow.
        """
        products, how = self._products, Evaluation(rows, slow, has_step and not slow)
        before = first = products.operand(program, inputs, is_left=True, is_turned=how.has_step)
        activations: list[Operand] = []
        for layer in self.layers[:-2]:
            before = products.hidden(program, layer, before, how)
            activations.append(before)
        last = (self.layers[-2], self.layers[-1])
        before, output = products.last_layers(program, last, before, how)
        return Pass(inputs, first, [*activations, before], output, rows)

    def backward(
        self,
        program: Program,
        done: Pass,
        delta: Floats,
        *,
        lists: NDArray[np.int32] | None = None,
        counts: NDArray[np.int32] | None = None,
        rows: int | None = None,
    ) -> list[Operand]:
        """Add the way of a gradient back to the first layer's output.

        Args:
            program: Where the kernels are added.
            done: The evaluation.
            delta: Gradient at the output: values [members, padded rows], or panels.
            lists: Rows that have a gradient, [members, padded rows]; None for all. No step follows.
            counts: Their number for every member.
            rows: Rows of the gradient, if fewer than of the evaluation.

        Returns:
            Gradients before the ReLU of every layer but the last.
        """
        products, last = self._products, self.layers[-1]
        chosen = Chosen(done.rows if rows is None else rows, lists, counts)
        if last.is_value:
            after = products.value_back(program, last, delta, done.activations[-1], chosen)
        else:
            output = products.operand(program, delta, is_left=True)
            after = products.hidden_back(program, last, output, done.activations[-1], chosen)
        deltas = [after]
        for layer, active in zip(self.layers[-2:0:-1], done.activations[-2::-1], strict=True):
            after = products.hidden_back(program, layer, after, active, chosen)
            deltas.insert(0, after)
        return deltas

    def backward_to_columns(
        self,
        program: Program,
        deltas: list[Operand],
        turned: TurnedColumns,
        rows: int,
        *,
        lists: NDArray[np.int32] | None = None,
        counts: NDArray[np.int32] | None = None,
    ) -> Floats:
        """Add the gradient with respect to input columns, whose turned weights `turn_columns` makes.

        Returns:
            Panels [members, panels, padded rows, width].
        """
        chosen = Chosen(rows, lists, counts)
        return self._products.columns_back(program, self.layers[0], deltas[0], turned, chosen)

    def turn_columns(self, program: Program, first: int, columns: int) -> TurnedColumns:
        """Add the turned copy of columns of the first layer, and return it."""
        return self._products.turn_columns(program, self.layers[0], first, columns)

    def step(
        self, program: Program, done: Pass, deltas: list[Operand], delta: Floats, numbers: Floats, rows: int
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
        products, last = self._products, self.layers[-1]
        befores = [done.operand, *done.activations]
        for layer, before, after in zip(self.layers[:-1], befores[:-1], deltas, strict=True):
            products.step(program, layer, before, after, numbers, rows)
        if last.is_value:
            products.value_step(program, last, befores[-1], delta, numbers, rows)
        else:
            output = products.operand(program, delta, is_turned=True)
            products.step(program, last, befores[-1], output, numbers, rows)

    def gradient_norm(self) -> float:
        """Return the Euclidean norm of the last gradient over all members and parameters."""
        return float(
            np.sqrt(
                sum(
                    np.add.reduce(part.squared_gradients, axis=None, dtype=np.float64)
                    for part in self.parts()
                )
            )
        )

    def parts(self) -> list[Part]:
        """Return layers and normalisations in the order of a network's parameters.

        Hidden layers, their normalisations, the last layer.
        """
        norms = [layer.norm for layer in self.layers if layer.norm is not None]
        return [*self.layers[:-1], *norms, self.layers[-1]]

    def tensors(self) -> Iterator[tuple[Part, Tensors, str]]:
        """Name every kind of parameter of every part: `parameters`, `means`, `squares` and `slow`."""
        for part in self.parts():
            yield part, part.parameters, "parameters"
            yield part, part.means, "means"
            yield part, part.squares, "squares"
            if part.slow is not None:
                yield part, part.slow, "slow"


class NormalisedPerceptrons(Perceptrons):
    """Perceptrons whose rows are normalised before every ReLU, csrc/norm.cpp; in float32 alone."""

    has_norms: ClassVar[bool] = True


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
    *,
    step: int,
    learning_rate: float,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    tau: float,
) -> tuple[float, ...]:
    """Return the eight numbers of a step of Adam, as csrc/adam.h reads them.

    Args:
        step: Counted from 1.
        learning_rate: At this step.
        betas: Decays of mean and square.
        epsilon: Of the denominator.
        weight_decay: Decoupled.
        tau: Weight of the parameters in their slow copies; 0 leaves these.
    """
    first, second = betas
    return (
        1.0 - first,
        second,
        1.0 - second,
        learning_rate / (1.0 - power(first, step)),
        1.0 / math.sqrt(1.0 - power(second, step)),
        epsilon,
        1.0 - learning_rate * weight_decay,
        tau,
    )
