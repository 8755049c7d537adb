"""uint8 inputs are moved and cast to float32; nothing is computed from them before, and integers stay shapes."""

import numpy as np
import pytest
from bundle_factories import make_spec, term_tree
from onnx import TensorProto, helper, numpy_helper

from sacpipe.bundle.contract import NoiseInput, OnnxTerms, onnx_inputs, onnx_output
from sacpipe.bundle.graph_check import check_graph
from sacpipe.bundle.policy_graph import parse_graph, read_graph
from sacpipe.core.errors import BundleError

SPEC = make_spec(
    observation=[term_tree("camera", 4, 4, 1, dtype="uint8"), term_tree("state", 2)],
    action=[{"name": "gripper", "unit": "N", "low": -1.0, "high": 1.0}],
)
KINDS = {"float32": TensorProto.FLOAT, "uint8": TensorProto.UINT8, "int32": TensorProto.INT32}


def node(operator, inputs, outputs=("made",), **attributes):
    return helper.make_node(operator, list(inputs), list(outputs), **attributes)


def port(name, dtype, *shape):
    return helper.make_tensor_value_info(name, KINDS[dtype], ["batch", *shape])


CAMERA, STATE = port("camera", "uint8", 4, 4, 1), port("state", "float32", 2)
ACTION = port("action", "float32", 1)


def build(*nodes, inputs=(CAMERA, STATE), outputs=(ACTION,), **tensors) -> bytes:
    """A graph of some nodes, then `action` = the sum of `state`."""
    arrays = [numpy_helper.from_array(np.asarray(rows), name) for name, rows in tensors.items()]
    end = node("ReduceSum", ["state", "last_axis"], ["action"])
    arrays.append(numpy_helper.from_array(np.array([1]), "last_axis"))
    graph = helper.make_graph([*nodes, end], "policy", list(inputs), list(outputs), arrays)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    return model.SerializeToString(deterministic=True)


def terms_of(data: bytes, noise_dim=None) -> OnnxTerms:
    noise = None if noise_dim is None else NoiseInput(name="noise", dim=noise_dim)
    facts = read_graph(data)._asdict()
    return OnnxTerms(inputs=onnx_inputs(SPEC), noise=noise, output=onnx_output(SPEC), **facts)


def test_an_image_is_moved_and_cast():
    data = build(
        node("Transpose", ["camera"], ["channels_first"], perm=[0, 3, 1, 2]),
        node("Identity", ["channels_first"], ["same"]),
        node("Reshape", ["same", "flat"], ["row"]),
        node("Slice", ["row", "start", "end"], ["part"]),
        node("Concat", ["part", "row"], ["wide"], axis=1),
        node("Cast", ["wide"], ["numbers"], to=TensorProto.FLOAT),
        node("Div", ["numbers", "whole"], ["share"]),
        flat=[0, -1], start=[0], end=[1], whole=np.float32(255.0),
    )  # fmt: skip
    check_graph(data, terms_of(data))


def test_the_shape_of_an_image_is_an_integer():
    data = build(node("Shape", ["camera"], ["sizes"]), node("Reshape", ["camera", "sizes"]))
    check_graph(data, terms_of(data))


@pytest.mark.parametrize(
    ("nodes", "fault"),
    [
        ([node("Div", ["camera", "camera"])], "as input 0 of 'Div'"),
        ([node("Max", ["camera", "camera"])], "as input 0 of 'Max'"),
        ([node("Conv", ["camera", "state"])], "as input 0 of 'Conv'"),
        ([node("Add", ["state", "camera"])], "as input 1 of 'Add'"),
        ([node("Equal", ["camera", "camera"])], "as input 0 of 'Equal'"),
        ([node("ReduceMax", ["camera"])], "as input 0 of 'ReduceMax'"),
        ([node("Transpose", ["camera"]), node("Neg", ["made"], ["less"])], "as input 0 of 'Neg'"),
        ([node("Cast", ["camera"], to=TensorProto.BOOL)], "as input 0 of 'Cast'"),
        ([node("Gather", ["state", "camera"])], "as input 1 of 'Gather'"),
        ([node("Reshape", ["state", "camera"])], "as input 1 of 'Reshape'"),
    ],
)
def test_nothing_is_computed_from_uint8(nodes, fault):
    with pytest.raises(
        BundleError, match=f"expected uint8 values in a Cast to float32 first, found one {fault}"
    ):
        parse_graph(build(*nodes))


def test_no_value_becomes_uint8():
    with pytest.raises(BundleError, match="expected a Cast to float32 or bool, found ONNX data type 2"):
        parse_graph(build(node("Cast", ["state"], to=TensorProto.UINT8)))


def test_an_image_is_not_used_before_it_is_made():
    late = [node("Abs", ["late"]), node("Identity", ["camera"], ["late"])]
    with pytest.raises(
        BundleError, match="expected every node after those whose values it takes, found 'Iden"
    ):
        parse_graph(build(*late))


def test_a_constant_is_no_image():
    with pytest.raises(BundleError, match="expected float32, int32, int64 or bool, found ONNX data type 2"):
        parse_graph(build(table=np.zeros(3, np.uint8)))


NOISE = port("noise", "float32", 3)


@pytest.mark.parametrize(
    ("ports", "noise_dim", "fault"),
    [
        (
            {"inputs": (STATE, CAMERA)},
            None,
            r"input 0 'camera', uint8 \['batch', 4, 4, 1\], found input 0 'state'",
        ),
        ({"inputs": (CAMERA,)}, None, "2 inputs, found 1"),
        ({"inputs": (CAMERA, STATE, NOISE)}, None, "2 inputs, found 3"),
        ({}, 3, "3 inputs, found 2"),
        (
            {"inputs": (CAMERA, STATE, NOISE)},
            4,
            r"input 2 'noise', float32 \['batch', 4\], found .*\['batch', 3\]",
        ),
        ({"inputs": (CAMERA, port("State", "float32", 2))}, None, "input 1 'state'.*found input 1 'State'"),
        ({"inputs": (CAMERA, port("state", "float32", 3))}, None, r"\['batch', 2\], found .*\['batch', 3\]"),
        (
            {"inputs": (port("camera", "float32", 4, 4, 1), STATE)},
            None,
            "'camera', uint8 .* 'camera', float32",
        ),
        (
            {"outputs": (port("action", "uint8", 1),)},
            None,
            "'action', float32 .* found output 0 'action', uint8",
        ),
        ({"outputs": (ACTION, port("made", "float32", 1))}, None, "1 outputs, found 2"),
        ({"outputs": (port("action", "float32", 2),)}, None, r"\['batch', 1\], found .*\['batch', 2\]"),
    ],
)
def test_other_tensors_than_the_contracts_are_refused(ports, noise_dim, fault):
    data = build(**ports)
    with pytest.raises(BundleError, match=f"policy.onnx: expected .*{fault}") as error:
        check_graph(data, terms_of(data, noise_dim))
    assert error.value.rule == "tensors"


def test_noise_is_a_last_input():
    data = build(inputs=(CAMERA, STATE, NOISE))
    check_graph(data, terms_of(data, 3))


def test_a_batch_of_one_size_is_refused():
    fixed = helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 2])
    data = build(inputs=(CAMERA, fixed))
    with pytest.raises(BundleError, match=r"\['batch', 2\], found input 1 'state', float32 \[1, 2\]"):
        check_graph(data, terms_of(data))


def test_an_input_of_another_type_is_refused():
    with pytest.raises(BundleError, match="'state': expected float32 or uint8, found ONNX data type 6"):
        parse_graph(build(inputs=(CAMERA, port("state", "int32", 2))))


def test_an_output_that_is_another_value_is_refused():
    """The graph declares one number and makes two."""
    data = build(node("Identity", ["state"], ["other"]))
    wrong = data.replace(b"\x12\x06action", b"\x12\x06actioX", 1)  # the node's own output has another name
    with pytest.raises(BundleError, match=r"expected 'action' of shape \['batch', 1\], found none"):
        check_graph(wrong, terms_of(wrong))
