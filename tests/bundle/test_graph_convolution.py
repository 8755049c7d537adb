"""Conv: shapes, operations and temporary memory worked out by hand; every attribute that does not fit is refused."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.graph_convolution import convolve
from sacpipe.bundle.graph_size import MAX_OPERATIONS
from sacpipe.bundle.graph_values import Value
from sacpipe.bundle.policy_graph import Node


def make(data, kernel, bias=None, **attributes):
    inputs = [Value(data), Value(kernel), *([Value(bias)] if bias else [])]
    return convolve(Node("Conv", ["name"] * len(inputs), ["made"], attributes), inputs)


IMAGE, KERNEL = (1, 3, 9, 8), (4, 3, 3, 2)


def test_shape_operations_and_temporary_memory():
    """7 by 7 places of 4 channels, each of 3 * 3 * 2 products; 34 = 18 unfolded + 16 padded numbers a place."""
    result = make(IMAGE, KERNEL, (4,))
    assert [value.shape for value in result.values] == [(1, 4, 7, 7)]
    assert result.operations == 7 * 7 * 4 * 18
    assert result.scratch == 49 * 34 + 16 * 72 + 16 * 16 * 6


@pytest.mark.parametrize(
    ("attributes", "sizes"),
    [
        ({}, (7, 7)),
        ({"strides": [2, 3]}, (4, 3)),  # 7 = 2 * 3 + 1 and 7 = 3 * 2 + 1
        ({"strides": [9, 9]}, (1, 1)),
        ({"pads": [1, 0, 2, 1]}, (10, 8)),  # 9 + 1 + 2 - 2 and 8 + 0 + 1 - 1
        ({"dilations": [2, 7]}, (5, 1)),  # the kernel spans 5 and 8
        ({"dilations": [4, 1], "strides": [1, 2]}, (1, 4)),
        ({"auto_pad": b"NOTSET", "group": 1, "kernel_shape": [3, 2]}, (7, 7)),
    ],
)
def test_strides_pads_and_dilations(attributes, sizes):
    assert make(IMAGE, KERNEL, **attributes).values[0].shape == (1, 4, *sizes)


def test_groups_share_the_channels():
    """Two groups: each of the 6 outputs sees 2 of 4 channels."""
    result = make((1, 4, 5, 5), (6, 2, 3, 3), group=2)
    assert (result.values[0].shape, result.operations) == ((1, 6, 3, 3), 9 * 6 * 2 * 9)


def test_one_axis():
    assert make((2, 3, 10), (5, 3, 4), strides=[2]).values[0].shape == (2, 5, 4)


@pytest.mark.parametrize(
    ("data", "kernel", "attributes", "fault"),
    [
        ((1, 3), (4, 3), {}, "a convolution of [1, 3] by [4, 3]"),
        ((1, 3, 4, 4, 4), (4, 3, 2, 2, 2), {}, "a convolution of [1, 3, 4, 4, 4] by [4, 3, 2, 2, 2]"),
        (IMAGE, (4, 3, 3), {}, "a convolution of [1, 3, 9, 8] by [4, 3, 3]"),
        (IMAGE, (0, 3, 3, 2), {}, "a convolution of [1, 3, 9, 8] by [0, 3, 3, 2]"),
        ((1, 3, 0, 8), KERNEL, {}, "a convolution of [1, 3, 0, 8] by [4, 3, 3, 2]"),
        (IMAGE, (4, 2, 3, 2), {}, "1 groups of a convolution of [1, 3, 9, 8] by [4, 2, 3, 2]"),
        (IMAGE, (4, 1, 3, 2), {"group": 3}, "3 groups of a convolution of [1, 3, 9, 8] by [4, 1, 3, 2]"),
        (IMAGE, KERNEL, {"group": 0}, "0 groups"),
        (IMAGE, KERNEL, {"group": -1}, "-1 groups"),
        (IMAGE, KERNEL, {"group": 1.0}, "1.0 groups"),
        (IMAGE, KERNEL, {"group": 2**62}, f"{2**62} groups of a convolution of [1, 3, 9, 8] by [4, 3, 3, 2]"),
        (IMAGE, KERNEL, {"strides": [0, 1]}, "strides [0, 1], dilations [1, 1], pads [0, 0, 0, 0]"),
        (IMAGE, KERNEL, {"strides": [-1, 1]}, "strides [-1, 1], dilations [1, 1], pads [0, 0, 0, 0]"),
        (IMAGE, KERNEL, {"strides": [1]}, "strides [1], not 2 integers"),
        (IMAGE, KERNEL, {"strides": [1.0, 1.0]}, "strides [1.0, 1.0], not 2 integers"),
        (IMAGE, KERNEL, {"strides": 1}, "strides 1, not 2 integers"),
        (IMAGE, KERNEL, {"dilations": [0, 1]}, "strides [1, 1], dilations [0, 1], pads [0, 0, 0, 0]"),
        (IMAGE, KERNEL, {"dilations": [5, 1]}, "a kernel that spans 11 on 9"),
        (IMAGE, KERNEL, {"dilations": [2**62, 1]}, f"a kernel that spans {2**63 + 1} on 9"),
        (IMAGE, KERNEL, {"pads": [-1, 0, 0, 0]}, "strides [1, 1], dilations [1, 1], pads [-1, 0, 0, 0]"),
        (IMAGE, KERNEL, {"pads": [0, 0]}, "pads [0, 0], not 4 integers"),
        (IMAGE, KERNEL, {"pads": [0, 2, 0, 0]}, "pads [0, 2, 0, 0] of a kernel that spans 2"),
        (IMAGE, KERNEL, {"pads": [0, 0, 2**40, 0]}, f"pads [0, 0, {2**40}, 0] of a kernel that spans 3"),
        (IMAGE, KERNEL, {"auto_pad": b"SAME_UPPER"}, "auto_pad b'SAME_UPPER'"),
        (IMAGE, KERNEL, {"auto_pad": b"VALID"}, "auto_pad b'VALID'"),
        (IMAGE, KERNEL, {"kernel_shape": [3, 3]}, "the kernel_shape [3, 3] of a kernel [4, 3, 3, 2]"),
        (IMAGE, KERNEL, {"activation": b"Relu"}, "the attribute 'activation'"),
    ],
)
def test_what_does_not_fit_is_named(data, kernel, attributes, fault):
    with pytest.raises(ValueError, match=r".") as error:
        make(data, kernel, **attributes)
    assert str(error.value) == fault


def test_a_bias_has_one_number_a_channel():
    make(IMAGE, KERNEL, (4,))
    with pytest.raises(ValueError, match=r"a bias of \[3\] for 4 channels"):
        make(IMAGE, KERNEL, (3,))


def test_the_largest_image_of_a_common_trunk_is_far_below_the_bounds():
    """84 by 84 with 9 channels through 32 filters of 3 by 3, stride 2, then stride 1 three times."""
    first = make((1, 9, 84, 84), (32, 9, 3, 3), strides=[2, 2])
    second = make(first.values[0].shape, (32, 32, 3, 3))
    assert first.values[0].shape == (1, 32, 41, 41)
    assert first.operations + 3 * second.operations < MAX_OPERATIONS / 4
    assert 8 * (first.scratch + 3 * second.scratch) < 2**26


@pytest.mark.parametrize(
    "attributes", [{"strides": [2, 1], "pads": [2, 0, 1, 1], "dilations": [1, 3]}, {"group": 3}]
)
def test_onnxruntime_computes_the_same_shape(attributes):
    kernel = (6, 3 // attributes.get("group", 1), 3, 2)
    ports = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", None, None, None])
        for name in ("x", "y")
    ]
    weight = numpy_helper.from_array(np.ones(kernel, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], **attributes)], "policy", ports[:1], ports[1:], [weight]
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"x": np.ones(IMAGE, np.float32)})
    assert make(IMAGE, kernel, **attributes).values[0].shape == found.shape
