"""What the kernels of layers take and give: operands, rows, and the arguments that they have in common."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sacpipe.kernels.layers import Array, Floats, Layer, Norm, Part, Tensors


class Normalised(NamedTuple):
    """What a normalisation leaves for its gradient and its step."""

    norm: Norm
    values: Floats
    """Normalised rows, [members, panels, padded rows, 32]."""
    scales: Floats
    """Of the rows, [members, padded rows]."""
    delta: Array | None = None
    """Gradient with respect to what the normalisation gave, panels as of a gradient's operand."""


class Operand(NamedTuple):
    """A matrix [parts, rows, features] as products take it."""

    left: Array | None
    """Panels, left operand forwards and backwards. None where no such product follows."""
    turned: Array | None
    """Panels, operand of the weights' gradient. None where no step follows."""
    height: int
    """Padded rows of a panel."""
    normal: Normalised | None = None
    """How it was normalised, if it was; of a gradient, how that was of which it is the gradient."""


class Evaluation(NamedTuple):
    """How inputs are evaluated."""

    rows: int
    slow: bool
    """Whether by the slow copies."""
    has_step: bool
    """Whether a step may follow."""


class Chosen(NamedTuple):
    """Rows that have a gradient."""

    rows: int
    lists: NDArray[np.int32] | None = None
    """Their numbers, [members, padded rows]; None for all. No step follows where there are lists."""
    counts: NDArray[np.int32] | None = None
    """How many of them each member has."""

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of kernels."""
        return self._asdict()


class TurnedColumns(NamedTuple):
    """Copy of the first layer's weights for some inputs, as right operand backwards."""

    weights: Array
    columns: int


def tensors_of(part: Part, *, slow: bool) -> Tensors:
    """Return the parameters or their slow copies."""
    tensors = part.slow if slow else part.parameters
    if tensors is None:
        raise ValueError("expected a stack with slow copies")
    return tensors


def shape_arguments(layer: Layer, rows: int) -> dict[str, int]:
    """Return the arguments of all products of a layer, and their multiply-adds."""
    return {
        "work": layer.members * rows * layer.inputs * layer.outputs,
        "members": layer.members,
        "rows": rows,
        "inputs": layer.inputs,
        "outputs": layer.outputs,
    }


def step_arguments(part: Part, numbers: Floats) -> dict[str, Any]:
    """Return the arguments that all kernels of steps have."""
    slow = part.slow
    return {
        "weights": part.parameters.weights,
        "bias": part.parameters.bias,
        "weight_means": part.means.weights,
        "weight_squares": part.squares.weights,
        "bias_means": part.means.bias,
        "bias_squares": part.squares.bias,
        "slow_weights": None if slow is None else slow.weights,
        "slow_bias": None if slow is None else slow.bias,
        "squares": part.squared_gradients,
        "step": numbers,
    }


def stride(layer: Layer, array: Array | None) -> int:
    """Return the words from one member to the next; 0 where all members have the same input.

    Raises:
        ValueError: there is no array: the evaluation was added without a step.
    """
    if array is None:
        raise ValueError("expected an evaluation with has_step=True before a step")
    return 0 if len(array) < layer.members else array[0].size
