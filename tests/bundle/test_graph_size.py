"""Memory and time of a graph are bounded before onnxruntime loads it; shapes are those of onnxruntime."""

import itertools

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.graph_size import MAX_OPERATIONS, MAX_VALUE_BYTES, _compute, check_size
from sacpipe.bundle.graph_values import Value, constant
from sacpipe.bundle.policy_graph import ALLOWED_OPERATORS, parse_graph
from sacpipe.core.errors import BundleError

DIM = 6
FLOATS = (TensorProto.FLOAT, ["batch", DIM])


def node(operator, inputs, outputs=("made",), **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


def build(nodes, opset=20, **tensors) -> bytes:
    """A graph of some nodes after the input `observation`, and a last one that makes `action`."""
    arrays = {name: np.asarray(rows) for name, rows in tensors.items()}
    arrays = {
        name: array.astype(np.float32) if array.dtype.kind == "f" else array for name, array in arrays.items()
    }
    graph = helper.make_graph(
        [*nodes, node("Identity", ["observation"], ["action"])],
        "policy",
        [helper.make_tensor_value_info("observation", *FLOATS)],
        [helper.make_tensor_value_info("action", *FLOATS)],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", opset)])
    return model.SerializeToString(deterministic=True)


def computed(data: bytes) -> dict[str, Value]:
    """Every value as this package computes it."""
    graph = parse_graph(data)
    values = {name: constant(array) for name, array in graph.tensors.items()}
    values["observation"] = Value((1, DIM))
    for one in graph.nodes:
        _compute(one, values)
    return values


def measured(data: bytes) -> dict[str, np.ndarray]:
    """Every value as onnxruntime computes it, without optimisations."""
    model = onnx.load_from_string(data)
    names = [name for one in model.graph.node for name in one.output if name]
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    arrays = session.run(names, {"observation": np.full((1, DIM), 0.5, np.float32)})
    return dict(zip(names, arrays, strict=True))


X, V, W = ["observation"], np.ones(DIM), np.ones((DIM, 4))
UNARY = [
    "Abs",
    "Cos",
    "Elu",
    "Erf",
    "Exp",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Sign",
    "Sin",
    "Softmax",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Tanh",
]
BINARY = [
    "Add",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Min",
    "Mul",
    "PRelu",
    "Pow",
    "Sub",
]

GRAPHS = {
    **{name: build([node(name, X)]) for name in UNARY},
    **{name: build([node(name, [*X, "v"])], v=V) for name in BINARY},
    **{f"{name} broadcasts": build([node(name, [*X, "v"])], v=np.ones((3, 1, DIM))) for name in ("Add", "Max")},
    "Swish": build([node("Swish", X)], opset=24),
    "Cast": build([node("Cast", X, to=TensorProto.BOOL), node("Not", ["made"], ["n"]), node("And", ["n", "made"], ["a"]), node("Or", ["n", "a"], ["o"]), node("Where", ["o", *X, "v"], ["w"])], v=np.ones((2, 1))),
    "Clip": build([node("Clip", [*X, "", "top"])], top=1.0),
    "MatMul": build([node("MatMul", [*X, "w"])], w=W),
    "MatMul of a vector": build([node("MatMul", [*X, "v"])], v=V),
    "MatMul of vectors": build([node("MatMul", ["v", "v"])], v=V),
    "MatMul from the left": build([node("MatMul", ["v", "w"])], v=V, w=W),
    "MatMul of stacks": build([node("MatMul", ["a", "b"])], a=np.ones((5, 1, 2, 3)), b=np.ones((4, 3, 7))),
    "Gemm": build([node("Gemm", [*X, "w", "c"], alpha=0.5)], w=W, c=np.ones(4)),
    "Gemm transposed": build([node("Gemm", ["w", *X], transA=1, transB=1)], w=W),
    "BatchNormalization": build([node("BatchNormalization", [*X, "v", "v", "v", "v"])], v=V),
    "LayerNormalization": build([node("LayerNormalization", [*X, "v"], ["y", "mean", "deviation"])], v=V),
    "LayerNormalization from axis 0": build([node("LayerNormalization", [*X, "v"], ["y", "mean"], axis=0)], v=np.ones((1, DIM))),
    "RMSNormalization": build([node("RMSNormalization", [*X, "v"])], opset=23, v=V),
    "Conv": build([node("Conv", ["t", "w", "b"])], t=np.ones((1, 3, 9, 8)), w=np.ones((4, 3, 3, 2)), b=np.ones(4)),
    "Conv by strides": build([node("Conv", ["t", "w"], strides=[2, 3], kernel_shape=[3, 3])], t=np.ones((2, 1, 9, 8)), w=np.ones((4, 1, 3, 3))),
    "Conv with pads": build([node("Conv", ["t", "w"], pads=[1, 0, 2, 1], auto_pad="NOTSET")], t=np.ones((1, 1, 5, 5)), w=np.ones((1, 1, 3, 3))),
    "Conv dilated": build([node("Conv", ["t", "w"], dilations=[2, 3])], t=np.ones((1, 1, 9, 9)), w=np.ones((1, 1, 3, 3))),
    "Conv in groups": build([node("Conv", ["t", "w"], group=2)], t=np.ones((1, 4, 5, 5)), w=np.ones((6, 2, 3, 3))),
    "Conv along one axis": build([node("Conv", ["t", "w"], strides=[2], pads=[1, 1])], t=np.ones((1, 2, 10)), w=np.ones((3, 2, 4))),
    "Expand": build([node("Expand", [*X, "s"])], s=[3, 1, DIM]),
    "Flatten": build([node("Flatten", ["t"])], t=np.ones((2, 3, 4))),
    "Flatten from axis 0": build([node("Flatten", ["t"], axis=0)], t=np.ones((2, 3, 4))),
    "Flatten from the last axis": build([node("Flatten", ["t"], axis=-1)], t=np.ones((2, 3, 4))),
    "Transpose": build([node("Transpose", ["t"])], t=np.ones((2, 3, 4))),
    "Transpose by an order": build([node("Transpose", ["t"], perm=[1, 2, 0])], t=np.ones((2, 3, 4))),
    "Concat": build([node("Concat", [*X, "t", *X], axis=-2)], t=np.ones((4, DIM))),
    "Gather": build([node("Gather", ["t", "i"], axis=1)], t=np.ones((2, 5, 3)), i=[[0, 4], [1, 1]]),
    "Gather one": build([node("Gather", ["t", "i"])], t=np.ones((2, 5)), i=-1),
    "Slice": build([node("Slice", ["t", "a", "b", "x", "s"])], t=np.ones((5, 9)), a=[1, -1], b=[2**62, -100], x=[0, -1], s=[2, -3]),
    "Slice without axes": build([node("Slice", ["t", "a", "b"])], t=np.ones((5, 9)), a=[-3, 2], b=[-1, 1]),
    "Slice with steps alone": build([node("Slice", ["t", "a", "b", "", "s"])], t=np.ones((5, 9)), a=[4, 0], b=[0, 9], s=[-1, 4]),
    "Split": build([node("Split", [*X, "p"], ["a", "b"], axis=1)], p=[2, 4]),
    "Split evenly": build([node("Split", X, ["a", "b"], axis=-1, num_outputs=2)]),
    "Split unevenly": build([node("Split", ["v"], ["a", "b", "c"], num_outputs=3)], v=np.ones(7)),
    "Reshape": build([node("Reshape", [*X, "s"])], s=[0, -1, 3]),
    "Reshape with zeros": build([node("Reshape", ["t", "s"], allowzero=1)], t=np.ones((0, 4)), s=[2, 0]),
    "Squeeze": build([node("Squeeze", ["t"])], t=np.ones((1, 3, 1))),
    "Squeeze an axis": build([node("Squeeze", ["t", "x"])], t=np.ones((1, 3, 1)), x=[-1]),
    "Unsqueeze": build([node("Unsqueeze", [*X, "x"])], x=[0, -1]),
    **{f"Reduce{kind}": build([node(f"Reduce{kind}", X)]) for kind in ("Max", "Mean", "Min", "Sum")},
    "ReduceSum over an axis": build([node("ReduceSum", ["t", "x"], keepdims=0)], t=np.ones((2, 3, 4)), x=[-2]),
    "ReduceSum over nothing": build([node("ReduceSum", ["t", "x"], noop_with_empty_axes=1)], t=np.ones((2, 3)), x=np.zeros(0, np.int64)),
    "ReduceMax of opset 13": build([node("ReduceMax", X, axes=[1])], opset=13),
    "Squeeze of opset 11": build([node("Squeeze", ["t"], axes=[0])], opset=11, t=np.ones((1, 3))),
    "Split of opset 11": build([node("Split", X, ["a", "b"], axis=1, split=[1, 5])], opset=11),
    "Constants": build([node("Constant", [], ["a"], value_floats=[1.0, 2.0]), node("Constant", [], ["b"], value_int=3), node("Constant", [], ["c"], value=numpy_helper.from_array(np.ones((2, 2), np.float32), "t"))]),
    "Shape to Reshape": build(
        [
            node("Shape", ["t"], ["s"], start=1),
            node("Gather", ["s", "i"], ["last"]),
            node("Squeeze", ["last"], ["number"]),
            node("Unsqueeze", ["number", "zero"], ["again"]),
            node("Slice", ["s", "zero", "i"], ["first"]),
            node("Concat", ["again", "first", "minus"], ["target"], axis=0),
            node("Identity", ["target"], ["same"]),
            node("Reshape", ["t", "same"]),
        ],
        t=np.ones((2, 3, 4)), i=[1], zero=[0], minus=[-1],
    ),
}  # fmt: skip


def test_every_allowed_operator_has_a_rule_and_a_graph_here():
    seen = set().union(*(parse_graph(data).facts.operators for data in GRAPHS.values()))
    assert seen == ALLOWED_OPERATORS


@pytest.mark.parametrize("name", GRAPHS)
def test_shapes_and_integers_are_those_of_onnxruntime(name):
    data = GRAPHS[name]
    values = computed(data)
    for made, array in measured(data).items():
        assert values[made].shape == array.shape, made
        known = values[made].integers
        assert (known is not None) == (array.dtype.kind == "i"), made
        assert known is None or known.tolist() == array.tolist()
    check_size(parse_graph(data), len(data))


def doubled(times):
    """Each node joins a value with itself."""
    names = ["observation", *(f"d{n}" for n in range(times))]
    return [node("Concat", [a, a], [b], axis=1) for a, b in itertools.pairwise(names)]


def added(times):
    """Each node adds a value to its own column: n numbers become n * n."""
    nodes, value = [], "start"
    for n in range(times):
        nodes += [
            node("Reshape", [value, "flat"], [f"r{n}"]),
            node("Reshape", [f"r{n}", "column"], [f"c{n}"]),
        ]
        nodes += [node("Add", [f"r{n}", f"c{n}"], [value := f"a{n}"])]
    return build(nodes, start=np.ones(64), flat=[-1], column=[-1, 1])


HUGE = {
    "Expand": build([node("Expand", [*X, "s"])], s=[2**20, 64, DIM]),
    "Expand along the batch": build([node("Expand", [*X, "s"])], s=[2**29, DIM]),
    "Expand to a shape from Shape": build(
        [node("Shape", ["t"], ["s"]), node("Concat", ["s", "s"], ["ss"], axis=0), node("Expand", ["v", "ss"])],
        t=np.ones((9000, 1)), v=np.ones(1)),
    "Expand beyond 64 bits": build([node("Expand", ["one", "s"])], one=1.0, s=[2**31 - 1] * 8),
    "a column times a row": build([node("MatMul", ["c", "r"])], c=np.ones((9000, 1)), r=np.ones((1, 9000))),
    "Gemm of a column and a row": build([node("Gemm", ["c", "c"], transB=1)], c=np.ones((9000, 1))),
    "a column plus a row": build([node("Add", ["c", "r"])], c=np.ones((9000, 1)), r=np.ones(9000)),
    "a column where a row": build([node("Where", ["t", "c", "r"])], t=np.ones((1, 1), bool), c=np.ones((9000, 1)), r=np.ones(9000)),
    "Max of three": build([node("Max", ["a", "b", "c"])], a=np.ones((900, 1, 1)), b=np.ones((900, 1)), c=np.ones(900)),
    "PRelu": build([node("PRelu", ["c", "r"])], c=np.ones((9000, 1)), r=np.ones((1, 9000))),
    "Gather of large rows": build([node("Gather", ["t", "i"])], t=np.ones((1, 9000)), i=np.zeros(9000, np.int64)),
    "Gather of integers": build(
        [node("Gather", ["i", "i"], ["a"]), node("Gather", ["r", "a"], ["b"]), node("Gather", ["r", "b"])],
        i=np.zeros(3000, np.int64), r=np.zeros((1, 9000), np.int64)),
    "Concat with itself": build(doubled(30)),
    "Concat of integers with themselves": build(
        [node("Concat", [f"s{n}"] * 64, [f"s{n + 1}"], axis=0) for n in range(6)], s0=[1, 2]),
    "Concat of one value many times": build([node("Concat", ["v"] * 9000, axis=0)], v=np.ones(9000)),
    "Add to its own column": added(4),
    "Conv to many channels": build([node("Conv", ["t", "w"])], t=np.ones((1, 1, 128, 128)), w=np.ones((9000, 1, 1, 1))),
    "Conv of overlapping patches": build([node("Conv", ["t", "w"])], t=np.ones((1, 1, 200, 200)), w=np.ones((1, 1, 100, 100))),
    "many values that fit alone": build([node("Expand", ["one", "s"], [f"e{n}"]) for n in range(99)], one=1.0, s=[10**6]),
    "Expand to a hundred dimensions": build([node("Expand", ["one", "s"])], one=1.0, s=[1] * 100),
}  # fmt: skip


@pytest.mark.parametrize("name", HUGE)
def test_a_small_file_that_takes_much_memory_is_refused(name):
    data = HUGE[name]
    assert len(data) < 300_000
    with pytest.raises(BundleError, match=r"policy.onnx: expected (values of at most|at most 8 dimensions)"):
        check_size(parse_graph(data), len(data))


def test_a_small_file_that_takes_much_time_is_refused():
    nodes = [node("MatMul", ["w", "w"], [f"m{n}"]) for n in range(5)]
    data = build(nodes, w=np.ones((400, 400)))
    assert 4 * 400**3 < MAX_OPERATIONS < 5 * 400**3
    with pytest.raises(
        BundleError, match=f"expected at most {MAX_OPERATIONS} operations .* from 'MatMul' on"
    ):
        check_size(parse_graph(data), len(data))
    fewer = build(nodes[:4], w=np.ones((400, 400)))
    check_size(parse_graph(fewer), len(fewer))


def test_the_bound_is_exact_and_grows_with_the_file():
    def expanded(size):
        return build([node("Expand", ["one", "s"])], one=1.0, s=[size])

    spare = MAX_VALUE_BYTES + 4 * len(expanded(2**23)) - 8 * DIM
    fits, not_fits = expanded(spare // 8), expanded(spare // 8 + 1)
    assert len(fits) == len(not_fits) == len(expanded(2**23))
    check_size(parse_graph(fits), len(fits))
    with pytest.raises(BundleError, match="from 'Identity' on"):
        check_size(parse_graph(not_fits), len(not_fits))


WRONG = {
    "a value that no node makes": build([node("Abs", ["nothing"])]),
    "a node before its input": build([node("Abs", ["late"]), node("Abs", X, ["late"])]),
    "one name for two values": build([node("Abs", X), node("Neg", X)]),
    "the input made again": build([node("Abs", X, ["observation"])]),
    "a tensor with the input's name": build([node("Abs", X)], observation=np.ones((1, DIM))),
    "a product that does not fit": build([node("MatMul", [*X, "w"])], w=np.ones((DIM + 1, 2))),
    "a sum that does not fit": build([node("Add", [*X, "v"])], v=np.ones(DIM - 1)),
    "a Gemm of vectors": build([node("Gemm", ["v", "v"])], v=V),
    "a Gemm whose C is larger": build([node("Gemm", [*X, "w", "c"])], w=W, c=np.ones((9, 4))),
    "a reshape that does not fit": build([node("Reshape", [*X, "s"])], s=[4, 2]),
    "a reshape to two unknown sizes": build([node("Reshape", [*X, "s"])], s=[-1, -1]),
    "a reshape to a negative size": build([node("Reshape", [*X, "s"])], s=[-2, -3]),
    "a reshape of nothing to any size": build([node("Reshape", ["t", "s"], allowzero=1)], t=np.ones((0, 3)), s=[-1, 0]),
    "an expansion to a negative size": build([node("Expand", [*X, "s"])], s=[-1, DIM]),
    "an expansion to numbers that are no integers": build([node("Expand", [*X, "s"])], s=[1.0, 6.0]),
    "an axis that is not there": build([node("Concat", [*X, *X], axis=2)]),
    "a concatenation without an axis": build([node("Concat", [*X, *X])]),
    "a squeeze of a larger axis": build([node("Squeeze", [*X, "x"])], x=[1]),
    "an axis twice": build([node("Unsqueeze", [*X, "x"])], x=[0, 0]),
    "an order that is none": build([node("Transpose", X, perm=[0, 0])]),
    "parts of another sum": build([node("Split", [*X, "p"], ["a", "b"], axis=1)], p=[2, 5]),
    "a negative part": build([node("Split", [*X, "p"], ["a", "b"], axis=1)], p=[-1, 7]),
    "a split into no parts": build([node("Split", X, ["a"], num_outputs=0)]),
    "a step of zero": build([node("Slice", [*X, "z", "z", "z", "z"])], z=[0]),
    "starts and ends of two lengths": build([node("Slice", [*X, "a", "b"])], a=[0], b=[1, 1]),
    "more outputs than there are": build([node("Abs", X, ["a", "b"])]),
    "a constant of two values": build([node("Constant", [], value_int=1, value_float=1.0)]),
    "a constant of none": build([node("Constant", [])]),
    "a constant text": build([node("Constant", [], value_string="text")]),
    "a missing input": build([node("MatMul", X)]),
    "a scale that is larger": build([node("LayerNormalization", [*X, "v"])], v=np.ones((9, DIM))),
    "a constant whose tensor is a text": build([node("Constant", [], value="text")]),
    "a convolution of no image": build([node("Conv", [*X, "w"])], w=np.ones((1, 1, 3, 3))),
    "a shape of many numbers": build([node("Expand", [*X, "s"])], s=[1] * 5000),
    "a floating-point axis": build([node("Concat", [*X, *X], axis=1.0)]),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_a_graph_whose_shapes_cannot_be_computed_is_refused(name):
    data = WRONG[name]
    with pytest.raises(BundleError, match=r"policy.onnx: expected .*, found"):
        check_size(parse_graph(data), len(data))
