"""Computes the shapes of a graph's values, operator by operator, as onnxruntime does.

A rule takes a node and its inputs, and returns the outputs and the number of operations. Integers are kept as
numbers, because they are shapes, indices and axes. Nothing is allocated that is as large as a value.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.graph_convolution import convolve
from sacpipe.bundle.graph_values import (
    MAX_RANK,
    Inputs,
    Node,
    Result,
    Shape,
    Value,
    constant,
    input_value,
)

_MAX_NUMBERS = 4096
"""Maximum number of axes, sizes or parts that a node takes."""
_MAX_KNOWN = 2**20
"""Maximum number of integers that are kept. A shape has at most `MAX_RANK`."""


def _integers(node: Node, inputs: Inputs, place: int, name: str) -> list[int] | None:
    """Return integers that are an input, or an attribute in earlier operator sets; None where left out."""
    value = inputs[place] if place < len(inputs) else None
    if value is None:
        return node.attributes.get(name)
    if value.integers is None:
        raise ValueError(f"an input {place} that is not a known integer")
    if value.integers.size > _MAX_NUMBERS:
        raise ValueError(f"{value.integers.size} numbers as input {place}")
    numbers: list[int] = value.integers.ravel().tolist()
    return numbers


def _axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of {rank}")
    return axis % rank


def _broadcast(shapes: Sequence[Shape]) -> Shape:
    """Return the shape to which several shapes are broadcast, without allocating anything."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    found = []
    for place in range(rank):
        others = {shape[place] for shape in padded} - {1}
        if len(others) > 1:
            raise ValueError(f"shapes {' and '.join(str(list(shape)) for shape in shapes)}")
        found.append(others.pop() if others else 1)
    return tuple(found)


def _same(_node: Node, inputs: Inputs) -> Result:
    """The shape of the first input."""
    value = input_value(inputs, 0)
    return Result([Value(value.shape)], math.prod(value.shape))


def _elementwise(_node: Node, inputs: Inputs) -> Result:
    """The shape to which all inputs are broadcast."""
    shape = _broadcast([value.shape for value in inputs if value is not None])
    return Result([Value(shape)], math.prod(shape) * len(inputs))


def _identity(_node: Node, inputs: Inputs) -> Result:
    value = input_value(inputs, 0)
    return Result([value], math.prod(value.shape))


def _constant_node(node: Node, _inputs: Inputs) -> Result:
    ((name, value),) = node.attributes.items()
    if name == "value":
        return Result([constant(value)], 0)
    kind = {"value_int": "i8", "value_ints": "i8", "value_float": "f4", "value_floats": "f4"}[name]
    return Result([constant(np.asarray(value, kind))], 0)


def _shape(node: Node, inputs: Inputs) -> Result:
    dims = input_value(inputs, 0).shape
    found = np.array(dims[node.attributes.get("start") : node.attributes.get("end")], np.int64)
    return Result([Value(found.shape, found)], len(dims))


def _matmul_shapes(left: Shape, right: Shape) -> Result:
    """NumPy's rule: a vector is a row on the left and a column on the right."""
    rows, columns = left if len(left) > 1 else (1, *left), right if len(right) > 1 else (*right, 1)
    if rows[-1] != columns[-2]:
        raise ValueError(f"a product of {list(left)} and {list(right)}")
    shape = (*_broadcast([rows[:-2], columns[:-2]]), rows[-2], columns[-1])
    operations = math.prod(shape) * rows[-1]
    if len(left) == 1:
        shape = (*shape[:-2], shape[-1])
    return Result([Value(shape if len(right) > 1 else shape[:-1])], operations)


def _matmul(_node: Node, inputs: Inputs) -> Result:
    return _matmul_shapes(input_value(inputs, 0).shape, input_value(inputs, 1).shape)


def _gemm(node: Node, inputs: Inputs) -> Result:
    left, right = input_value(inputs, 0).shape, input_value(inputs, 1).shape
    if (len(left), len(right)) != (2, 2):
        raise ValueError(f"a Gemm of {list(left)} and {list(right)}")
    left = left[::-1] if node.attributes.get("transA") else left
    right = right[::-1] if node.attributes.get("transB") else right
    result = _matmul_shapes(left, right)
    bias = inputs[2] if len(inputs) > 2 else None
    if bias is not None and _broadcast([bias.shape, result.values[0].shape]) != result.values[0].shape:
        raise ValueError(f"a Gemm with C of {list(bias.shape)}")
    return result


def _expand(node: Node, inputs: Inputs) -> Result:
    target = _integers(node, inputs, 1, "shape")
    if target is None or any(size < 0 for size in target):
        raise ValueError(f"the target {target}")
    shape = _broadcast([input_value(inputs, 0).shape, tuple(target)])
    return Result([Value(shape)], math.prod(shape))


def _reshape(node: Node, inputs: Inputs) -> Result:
    value, target = input_value(inputs, 0), _integers(node, inputs, 1, "shape")
    if target is None or len(target) > MAX_RANK:
        raise ValueError(f"the target of {len(target or [])} dimensions")
    keeps_zero = node.attributes.get("allowzero")
    sizes = [
        value.shape[place] if size == 0 and not keeps_zero else size for place, size in enumerate(target)
    ]
    total, known = math.prod(value.shape), math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known:
        sizes[sizes.index(-1)] = total // known
    if any(size < 0 for size in sizes) or math.prod(sizes) != total:
        raise ValueError(f"{list(value.shape)} to {target}")
    return _moved(value, tuple(sizes), lambda array: array.reshape(sizes))


def _moved(value: Value, shape: Shape, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Result:
    """A value whose entries are moved: integers stay known."""
    integers = None if value.integers is None else move(value.integers)
    return Result([Value(shape, integers)], math.prod(shape))


def _flatten(node: Node, inputs: Inputs) -> Result:
    shape = input_value(inputs, 0).shape
    axis = node.attributes.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} of {list(shape)}")
    found = (math.prod(shape[:axis]), math.prod(shape[axis:]))
    return Result([Value(found)], math.prod(shape))


def _transpose(node: Node, inputs: Inputs) -> Result:
    shape = input_value(inputs, 0).shape
    order = node.attributes.get("perm", list(range(len(shape)))[::-1])
    if sorted(order) != list(range(len(shape))):
        raise ValueError(f"the order {order} of {list(shape)}")
    return Result([Value(tuple(shape[axis] for axis in order))], math.prod(shape))


def _squeeze(node: Node, inputs: Inputs) -> Result:
    value, axes = input_value(inputs, 0), _integers(node, inputs, 1, "axes")
    shape = value.shape
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if size == 1]
    dropped = {_axis(axis, len(shape)) for axis in axes}
    if any(shape[axis] != 1 for axis in dropped):
        raise ValueError(f"axes {axes} of {list(shape)}")
    found = tuple(size for axis, size in enumerate(shape) if axis not in dropped)
    return _moved(value, found, lambda array: array.reshape(found))


def _unsqueeze(node: Node, inputs: Inputs) -> Result:
    value, axes = input_value(inputs, 0), _integers(node, inputs, 1, "axes")
    rank = len(value.shape) + len(axes or [])
    if not axes or rank > MAX_RANK or len({_axis(axis, rank) for axis in axes}) != len(axes):
        raise ValueError(f"axes {axes} of {list(value.shape)}")
    places, sizes = {_axis(axis, rank) for axis in axes}, iter(value.shape)
    found = tuple(1 if axis in places else next(sizes) for axis in range(rank))
    return _moved(value, found, lambda array: array.reshape(found))


def _concat(node: Node, inputs: Inputs) -> Result:
    values = [input_value(inputs, place) for place in range(len(inputs))]
    first = values[0].shape
    axis = _axis(node.attributes["axis"], len(first))
    sizes = {(*value.shape[:axis], *value.shape[axis + 1 :]) for value in values}
    if len(sizes) != 1 or any(len(value.shape) != len(first) for value in values):
        raise ValueError(f"shapes {[list(value.shape) for value in values[:9]]}")
    shape = (*first[:axis], sum(value.shape[axis] for value in values), *first[axis + 1 :])
    parts = [value.integers for value in values if value.integers is not None]
    known: NDArray[Any] | None = None
    if math.prod(shape) <= _MAX_KNOWN and len(parts) == len(values):
        known = np.concatenate(parts, axis)
    return Result([Value(shape, known)], math.prod(shape))


def _gather(node: Node, inputs: Inputs) -> Result:
    value, indices = input_value(inputs, 0), input_value(inputs, 1)
    axis = _axis(node.attributes.get("axis", 0), len(value.shape))
    shape = value.shape[:axis] + indices.shape + value.shape[axis + 1 :]
    known: NDArray[Any] | None = None
    if value.integers is not None and indices.integers is not None and math.prod(shape) <= _MAX_KNOWN:
        known = np.take(value.integers, indices.integers, axis)
    return Result([Value(shape, known)], math.prod(shape))


def _slice(node: Node, inputs: Inputs) -> Result:
    value = input_value(inputs, 0)
    starts, ends, axes, steps = (
        _integers(node, inputs, place, name)
        for place, name in enumerate(("starts", "ends", "axes", "steps"), start=1)
    )
    if starts is None or ends is None:
        raise ValueError("no starts or ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    index, shape = [slice(None)] * len(value.shape), list(value.shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        place = _axis(axis, len(value.shape))
        index[place] = slice(start, end, step)
        shape[place] = len(range(*index[place].indices(value.shape[place])))
    return _moved(value, tuple(shape), lambda array: array[tuple(index)])


def _split(node: Node, inputs: Inputs) -> Result:
    value, parts = input_value(inputs, 0), _integers(node, inputs, 1, "split")
    shape = value.shape
    axis = _axis(node.attributes.get("axis", 0), len(shape))
    if parts is None:
        number = node.attributes.get("num_outputs", len(node.outputs))
        if not 1 <= number <= len(node.outputs):
            raise ValueError(f"{number} parts for {len(node.outputs)} outputs")
        size = -(-shape[axis] // number)
        parts = [min(size, shape[axis] - size * place) for place in range(number)]
    if any(part < 0 for part in parts) or sum(parts) != shape[axis]:
        raise ValueError(f"parts {parts[:9]} of {list(shape)}")
    values = [Value((*shape[:axis], part, *shape[axis + 1 :])) for part in parts]
    return Result(values, math.prod(shape))


def _reduce(node: Node, inputs: Inputs) -> Result:
    shape, axes = input_value(inputs, 0).shape, _integers(node, inputs, 1, "axes")
    if not axes:
        axes = [] if node.attributes.get("noop_with_empty_axes") else list(range(len(shape)))
    reduced = {_axis(axis, len(shape)) for axis in axes}
    keeps = node.attributes.get("keepdims", True)
    found = tuple(
        1 if axis in reduced else size for axis, size in enumerate(shape) if keeps or axis not in reduced
    )
    return Result([Value(found)], math.prod(shape))


def _normalization(node: Node, inputs: Inputs) -> Result:
    """The shape of the first input; mean and deviation have size 1 from the axis on."""
    shape = input_value(inputs, 0).shape
    axis = _axis(node.attributes.get("axis", -1), len(shape))
    small = Value((*shape[:axis], *(1 for _ in shape[axis:])))
    for value in inputs[1:]:
        if value is not None and _broadcast([shape, value.shape]) != shape:
            raise ValueError(f"a scale of {list(value.shape)} for {list(shape)}")
    return Result([Value(shape), small, small], 4 * math.prod(shape))


def _batch_normalization(_node: Node, inputs: Inputs) -> Result:
    shape, scale = input_value(inputs, 0).shape, Value(input_value(inputs, 1).shape)
    return Result([Value(shape), scale, scale, scale, scale], math.prod(shape))


_UNARY = """
    Abs Cast Cos Elu Erf Exp Gelu HardSigmoid HardSwish LeakyRelu Log Mish Neg Not Reciprocal Relu Selu
    Sigmoid Sign Sin Softmax Softplus Softsign Sqrt Swish Tanh
"""
_BROADCASTING = """
    Add And Clip Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min Mul Or PRelu Pow Sub Where
"""
RULES: dict[str, Callable[[Node, Inputs], Result]] = {
    **dict.fromkeys(_UNARY.split(), _same),
    **dict.fromkeys(_BROADCASTING.split(), _elementwise),
    **dict.fromkeys(["ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"], _reduce),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization"], _normalization),
    "BatchNormalization": _batch_normalization,
    "Concat": _concat,
    "Constant": _constant_node,
    "Conv": convolve,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Gemm": _gemm,
    "Identity": _identity,
    "MatMul": _matmul,
    "Reshape": _reshape,
    "Shape": _shape,
    "Slice": _slice,
    "Split": _split,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
"""Computes the outputs of a node, by operator. An exception means that onnxruntime would refuse the node."""
