"""Each rule by itself: shapes, integers and numbers of operations worked out by hand, faults to the letter."""

import math

import numpy as np
import pytest

from sacpipe.bundle.graph_shapes import RULES
from sacpipe.bundle.graph_values import Value, constant
from sacpipe.bundle.policy_graph import Node

M = Value((2, 3))
T = Value((2, 3, 4))


def ints(*numbers) -> Value:
    return constant(np.array(numbers, np.int64))


def make(operator, *inputs, outputs=("made",), **attributes):
    return RULES[operator](Node(operator, ["name"] * len(inputs), list(outputs), attributes), inputs)


def several(result):
    return [value.shape for value in result.values], result.operations


SHAPES = {
    "Abs": (lambda: make("Abs", T), (2, 3, 4), 24),
    "Add of three dimensions and one": (lambda: make("Add", Value((2, 1, 4)), Value((3, 1))), (2, 3, 4), 48),
    "Add of no dimensions": (lambda: make("Add", Value(()), Value(())), (), 2),
    "Add of sizes of zero": (lambda: make("Add", Value((0, 3)), Value((1,))), (0, 3), 0),
    "Clip without a bound": (lambda: make("Clip", M, None, Value(())), (2, 3), 18),
    "Identity": (lambda: make("Identity", M), (2, 3), 6),
    "Constant": (lambda: make("Constant", value=np.zeros((2, 5), np.float32)), (2, 5), 0),
    "MatMul": (lambda: make("MatMul", M, Value((3, 4))), (2, 4), 24),
    "MatMul of vectors": (lambda: make("MatMul", Value((3,)), Value((3,))), (), 3),
    "MatMul of a vector and a matrix": (lambda: make("MatMul", Value((3,)), Value((3, 4))), (4,), 12),
    "MatMul of a matrix and a vector": (lambda: make("MatMul", M, Value((3,))), (2,), 6),
    "MatMul of stacks": (lambda: make("MatMul", Value((5, 1, 2, 3)), Value((4, 3, 7))), (5, 4, 2, 7), 840),
    "MatMul of a stack and a vector": (lambda: make("MatMul", Value((5, 2, 3)), Value((3,))), (5, 2), 30),
    "MatMul of a vector and a stack": (lambda: make("MatMul", Value((3,)), Value((5, 3, 4))), (5, 4), 60),
    "Gemm": (lambda: make("Gemm", M, Value((3, 4))), (2, 4), 24),
    "Gemm of the left transposed": (lambda: make("Gemm", Value((3, 2)), Value((3, 4)), transA=1, transB=0), (2, 4), 24),
    "Gemm of the right transposed": (lambda: make("Gemm", M, Value((4, 3)), transA=0, transB=1), (2, 4), 24),
    "Gemm with C": (lambda: make("Gemm", M, Value((3, 4)), Value((2, 1))), (2, 4), 24),
    "Gemm with C left out": (lambda: make("Gemm", M, Value((3, 4)), None), (2, 4), 24),
    "Expand": (lambda: make("Expand", Value((3, 1)), ints(2, 1, 4)), (2, 3, 4), 24),
    "Expand to nothing": (lambda: make("Expand", Value((1,)), ints(0)), (0,), 0),
    "Expand by an attribute": (lambda: make("Expand", Value((1,)), shape=[5]), (5,), 5),
    "Expand to the most numbers": (lambda: make("Expand", Value((1,)), ints(*[1] * 4096)), (1,) * 4096, 1),
    "Reshape": (lambda: make("Reshape", T, ints(0, -1)), (2, 12), 24),
    "Reshape by an attribute": (lambda: make("Reshape", T, shape=[0, 0, 2, 2]), (2, 3, 2, 2), 24),
    "Reshape to a table of numbers": (lambda: make("Reshape", T, ints([6], [4])), (6, 4), 24),
    "Reshape to eight dimensions": (lambda: make("Reshape", Value((7,)), ints(-1, *[1] * 7)), (7, *[1] * 7), 7),
    "Reshape that keeps zeros": (lambda: make("Reshape", Value((0, 4)), ints(2, 0), allowzero=1), (2, 0), 0),
    "Flatten": (lambda: make("Flatten", T), (2, 12), 24),
    "Flatten from axis 0": (lambda: make("Flatten", T, axis=0), (1, 24), 24),
    "Flatten from axis 2": (lambda: make("Flatten", T, axis=2), (6, 4), 24),
    "Flatten from axis -1": (lambda: make("Flatten", T, axis=-1), (6, 4), 24),
    "Flatten to the end": (lambda: make("Flatten", T, axis=3), (24, 1), 24),
    "Flatten from the start": (lambda: make("Flatten", T, axis=-3), (1, 24), 24),
    "Transpose": (lambda: make("Transpose", T), (4, 3, 2), 24),
    "Transpose by an order": (lambda: make("Transpose", T, perm=[1, 2, 0]), (3, 4, 2), 24),
    "Squeeze": (lambda: make("Squeeze", Value((1, 3, 1, 2))), (3, 2), 6),
    "Squeeze an axis": (lambda: make("Squeeze", Value((1, 3, 1)), ints(-1)), (1, 3), 3),
    "Squeeze by an attribute": (lambda: make("Squeeze", Value((1, 3, 1)), axes=[0]), (3, 1), 3),
    "Unsqueeze": (lambda: make("Unsqueeze", M, ints(0, -1)), (1, 2, 3, 1), 6),
    "Unsqueeze by an attribute": (lambda: make("Unsqueeze", M, axes=[1]), (2, 1, 3), 6),
    "Unsqueeze to eight dimensions": (lambda: make("Unsqueeze", Value((2,) * 7), ints(7)), ((2,) * 7 + (1,)), 128),
    "Concat": (lambda: make("Concat", T, Value((2, 5, 4)), axis=1), (2, 8, 4), 64),
    "Concat along the last axis": (lambda: make("Concat", T, T, axis=-1), (2, 3, 8), 48),
    "Gather": (lambda: make("Gather", T, ints([0, 1], [1, 1], [0, 0]), axis=1), (2, 3, 2, 4), 48),
    "Gather one": (lambda: make("Gather", T, Value(())), (3, 4), 12),
    "Slice": (lambda: make("Slice", Value((5, 9)), ints(1, -1), ints(2**62, -100), ints(0, -1), ints(2, -3)), (2, 3), 6),
    "Slice by attributes": (lambda: make("Slice", Value((5, 9)), starts=[1], ends=[4], axes=[1], steps=[2]), (5, 2), 10),
    "Slice without axes": (lambda: make("Slice", Value((5, 9)), ints(-3, 2), ints(-1, 1)), (2, 0), 0),
    "Slice backwards to the start": (lambda: make("Slice", Value((5,)), ints(-1), ints(-6), ints(0), ints(-1)), (5,), 5),
    "Slice backwards before the start": (lambda: make("Slice", Value((5,)), ints(-1), ints(-5), ints(0), ints(-1)), (4,), 4),
    "ReduceSum": (lambda: make("ReduceSum", T), (1, 1, 1), 24),
    "ReduceSum of no axes": (lambda: make("ReduceSum", T, ints()), (1, 1, 1), 24),
    "ReduceSum of no axes over nothing": (lambda: make("ReduceSum", T, ints(), noop_with_empty_axes=1), (2, 3, 4), 24),
    "ReduceSum over an axis": (lambda: make("ReduceSum", T, ints(-2), noop_with_empty_axes=1, keepdims=1), (2, 1, 4), 24),
    "ReduceSum that drops an axis": (lambda: make("ReduceSum", T, axes=[1], keepdims=0), (2, 4), 24),
    "ReduceSum that drops all axes": (lambda: make("ReduceSum", T, noop_with_empty_axes=0, keepdims=0), (), 24),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_shape_and_number_of_operations(name):
    compute, shape, operations = SHAPES[name]
    assert several(compute()) == ([shape], operations)


def test_operators_of_several_outputs():
    assert several(make("LayerNormalization", T, Value((4,)))) == ([(2, 3, 4), (2, 3, 1), (2, 3, 1)], 96)
    assert several(make("LayerNormalization", T, Value((3, 4)), None, axis=1)) == (
        [(2, 3, 4), (2, 1, 1), (2, 1, 1)],
        96,
    )
    assert several(make("BatchNormalization", M, Value((3,)), *[Value((1,))] * 3)) == (
        [(2, 3), *[(3,)] * 4],
        6,
    )
    assert several(make("Split", T, ints(1, 2), axis=1)) == ([(2, 1, 4), (2, 2, 4)], 24)
    assert several(make("Split", T, split=[2, 0])) == ([(2, 3, 4), (0, 3, 4)], 24)
    assert several(make("Split", Value((7,)), outputs="abc")) == ([(3,), (3,), (1,)], 7)
    assert several(make("Split", Value((4, 2)), outputs="abc", num_outputs=3)) == (
        [(2, 2), (2, 2), (0, 2)],
        8,
    )
    assert several(make("Split", Value((5,)), outputs="ab", num_outputs=1)) == ([(5,)], 5)


INTEGERS = {
    "Constant of a tensor": (lambda: make("Constant", value=np.array([[1, 2]], np.int32)), [[1, 2]]),
    "Constant of an integer": (lambda: make("Constant", value_int=3), 3),
    "Constant of integers": (lambda: make("Constant", value_ints=[2**40, 5]), [2**40, 5]),
    "Constant of a float": (lambda: make("Constant", value_float=3.0), None),
    "Constant of floats": (lambda: make("Constant", value_floats=[3.0]), None),
    "Constant of truths": (lambda: make("Constant", value=np.array([True])), None),
    "Constant of no integers": (lambda: make("Constant", value_ints=[]), []),
    "Shape of no dimensions": (lambda: make("Shape", Value(())), []),
    "Shape": (lambda: make("Shape", T), [2, 3, 4]),
    "Shape from a start": (lambda: make("Shape", T, start=1), [3, 4]),
    "Shape to an end": (lambda: make("Shape", T, end=-1), [2, 3]),
    "Shape of a part": (lambda: make("Shape", T, start=-2, end=2), [3]),
    "Identity": (lambda: make("Identity", ints(1, 2)), [1, 2]),
    "Reshape": (lambda: make("Reshape", ints(1, 2, 3, 4, 5, 6), ints(2, -1)), [[1, 2, 3], [4, 5, 6]]),
    "Reshape of floats": (lambda: make("Reshape", Value((2,)), ints(1, 2)), None),
    "Squeeze": (lambda: make("Squeeze", ints([1, 2])), [1, 2]),
    "Unsqueeze": (lambda: make("Unsqueeze", ints(1, 2), ints(1)), [[1], [2]]),
    "Concat": (lambda: make("Concat", ints([1], [2]), ints([3], [4]), axis=1), [[1, 3], [2, 4]]),
    "Concat of integers and floats": (lambda: make("Concat", ints(1), Value((1,)), axis=0), None),
    "Concat of floats": (lambda: make("Concat", Value((1,)), Value((1,)), axis=0), None),
    "Gather": (lambda: make("Gather", ints([1, 2], [3, 4]), ints(1), axis=1), [[2], [4]]),
    "Gather of unknown indices": (lambda: make("Gather", ints(1, 2), Value((1,))), None),
    "Gather of floats": (lambda: make("Gather", Value((2,)), ints(1)), None),
    "Slice": (lambda: make("Slice", ints([1, 2, 3], [4, 5, 6]), ints(-1), ints(0), ints(1), ints(-1)), [[3, 2], [6, 5]]),
    "Abs": (lambda: make("Abs", ints(1)), None),
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_that_are_known(name):
    compute, numbers = INTEGERS[name]
    (value,) = compute().values
    found = value.integers
    assert (None if found is None else found.tolist()) == numbers
    assert found is None or (found.shape == value.shape and found.dtype.kind == "i")


def test_shapes_and_constants_are_64_bit_integers_without_operations():
    for result in (make("Constant", value_int=3), make("Constant", value_ints=[3])):
        assert (result.values[0].integers.dtype, result.operations) == (np.int64, 0)
    assert make("Shape", T).values[0].integers.dtype == np.int64
    assert make("Shape", T, start=1).operations == 3
    assert make("Constant", value_float=3.0).values[0].shape == ()
    assert make("Constant", value_floats=[3.0, 4.0]).values[0].shape == (2,)


@pytest.mark.parametrize(("size", "is_known"), [(2**20, True), (2**20 + 1, False)])
def test_a_million_integers_are_kept_and_no_more(size, is_known):
    numbers = constant(np.zeros(size - 1, np.int8))
    joined = make("Concat", numbers, constant(np.zeros(1, np.int8)), axis=0)
    gathered = make("Gather", ints(7), constant(np.zeros(size, np.int8)))
    for result in (joined, gathered):
        assert result.values[0].shape == (size,)
        assert (result.values[0].integers is not None) == is_known


FAULTS = {
    "no input 0": lambda: make("Abs"),
    "no input 1": lambda: make("MatMul", M, None),
    "an input 1 that is not a known integer": lambda: make("Reshape", M, Value((2,))),
    "4097 numbers as input 1": lambda: make("ReduceSum", M, ints(*[0] * 4097)),
    "axis 2 of 2": lambda: make("Gather", M, ints(0), axis=2),
    "axis -3 of 2": lambda: make("Gather", M, ints(0), axis=-3),
    "shapes [2, 3] and [2]": lambda: make("Add", M, Value((2,))),
    "shapes [5] and [4]": lambda: make("MatMul", Value((5, 2, 3)), Value((4, 3, 2))),
    "a product of [2, 3] and [4, 2]": lambda: make("MatMul", M, Value((4, 2))),
    "a product of [2] and [3]": lambda: make("MatMul", Value((2,)), Value((3,))),
    "a Gemm of [3] and [3, 4]": lambda: make("Gemm", Value((3,)), Value((3, 4))),
    "a Gemm of [2, 3] and [3]": lambda: make("Gemm", M, Value((3,))),
    "a Gemm with C of [5, 1, 1]": lambda: make("Gemm", M, Value((3, 4)), Value((5, 1, 1))),
    "shapes [5] and [2, 4]": lambda: make("Gemm", M, Value((3, 4)), Value((5,))),
    "the target None": lambda: make("Expand", M),
    "the target [-1, 3]": lambda: make("Expand", M, ints(-1, 3)),
    "the target of 0 dimensions": lambda: make("Reshape", M),
    "the target of 9 dimensions": lambda: make("Reshape", M, ints(*[1] * 8, 6)),
    "[2, 3] to [4, -1]": lambda: make("Reshape", M, ints(4, -1)),
    "[2, 3] to [-2, -3]": lambda: make("Reshape", M, ints(-2, -3)),
    "[2, 3] to [-1, -1]": lambda: make("Reshape", M, ints(-1, -1)),
    "[2, 3] to [7]": lambda: make("Reshape", M, ints(7)),
    "[0, 3] to [-1, 0]": lambda: make("Reshape", Value((0, 3)), ints(-1, 0), allowzero=1),
    "axis 4 of [2, 3, 4]": lambda: make("Flatten", T, axis=4),
    "axis -4 of [2, 3, 4]": lambda: make("Flatten", T, axis=-4),
    "the order [0, 0] of [2, 3]": lambda: make("Transpose", M, perm=[0, 0]),
    "axes [0, -1] of [1, 3]": lambda: make("Squeeze", Value((1, 3)), ints(0, -1)),
    "axes None of [2, 3]": lambda: make("Unsqueeze", M),
    "axes [] of [2, 3]": lambda: make("Unsqueeze", M, ints()),
    "axes [0, -4] of [2, 3]": lambda: make("Unsqueeze", M, ints(0, -4)),
    "axes [0, 1] of [1, 1, 1, 1, 1, 1, 1]": lambda: make("Unsqueeze", Value((1,) * 7), ints(0, 1)),
    "shapes [[2, 3], [2, 4]]": lambda: make("Concat", M, Value((2, 4)), axis=0),
    "shapes [[3, 4], [3]]": lambda: make("Concat", Value((3, 4)), Value((3,)), axis=1),
    f"shapes {[[1]] + [[1, 1]] * 8}": lambda: make("Concat", Value((1,)), *[Value((1, 1))] * 9, axis=0),
    "no starts or ends": lambda: make("Slice", M, ints(0)),
    "0 parts for 1 outputs": lambda: make("Split", M, num_outputs=0),
    "3 parts for 2 outputs": lambda: make("Split", M, outputs="ab", num_outputs=3),
    "parts [2, 2, 1, -1] of [5]": lambda: make("Split", Value((5,)), outputs="abcd"),
    "parts [2, 2] of [2, 3]": lambda: make("Split", M, ints(2, 2), axis=1),
    f"parts {[1] * 9} of [3]": lambda: make("Split", Value((3,)), ints(*[1] * 10)),
    "axis 3 of 3": lambda: make("LayerNormalization", T, Value((4,)), axis=3),
    "a scale of [9, 1, 3] for [2, 3]": lambda: make("LayerNormalization", M, Value((9, 1, 3))),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_the_fault_says_what_does_not_fit(fault):
    with pytest.raises(ValueError, match=r".") as error:
        FAULTS[fault]()
    assert str(error.value) == fault


def test_what_only_ends_is_no_slice():
    with pytest.raises(ValueError, match="no starts or ends"):
        make("Slice", M, None, ints(1))


@pytest.mark.parametrize("shape", [(), (1,), (2, 0, 3)])
def test_operations_of_an_elementwise_operator_count_its_inputs(shape):
    assert make("Max", *[Value(shape)] * 3).operations == 3 * math.prod(shape)
