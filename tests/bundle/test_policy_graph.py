"""policy.onnx is read without an ONNX library; anything but a plain graph of finite numbers is refused."""

import numpy as np
import onnx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from repository import ROOT

from sacpipe.bundle.policy_graph import ALLOWED_OPERATORS, read_graph
from sacpipe.core.errors import BundleError


def make_model() -> onnx.ModelProto:
    """Observation (batch, 2) to tanh(observation @ weight), with a tensor in an attribute besides."""
    constant = numpy_helper.from_array(np.array([0.5], np.float32), "value")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["observation", "weight"], ["product"], name="node_0", alpha=1.5),
            helper.make_node("Constant", [], ["half"], value=constant),
            helper.make_node("Mul", ["product", "half"], ["scaled"]),
            helper.make_node("Tanh", ["scaled"], ["action"]),
        ],
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.ones((2, 1), np.float32), "weight")],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
    onnx.checker.check_model(model, full_check=True)
    return model


def test_facts_agree_with_the_onnx_library():
    model = make_model()
    facts = read_graph(model.SerializeToString())
    assert facts.ir_version == model.ir_version == 10
    assert facts.opset_version == model.opset_import[0].version == 20
    assert facts.operators == tuple(sorted({node.op_type for node in model.graph.node}))


def test_every_allowed_operator_is_one_of_onnx_itself():
    assert {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain} >= ALLOWED_OPERATORS


@pytest.mark.parametrize(
    "operator", ["If", "Loop", "Scan", "RandomNormal", "Multinomial", "Bernoulli", "Dropout"]
)
def test_branches_loops_and_randomness_are_not_allowed(operator):
    assert operator not in ALLOWED_OPERATORS


def test_the_formats_page_lists_the_allowed_operators():
    page = (ROOT / "docs" / "bundle.md").read_text()
    block = page.partition("loops or branches:\n")[2].partition("\n## ")[0]
    assert set(block.split()) == ALLOWED_OPERATORS


def external_data(model):
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")


def external_data_in_an_attribute(model):
    model.graph.node[1].attribute[0].t.external_data.add(key="location", value="weights.bin")


def sub_graph(model):
    model.graph.node[3].attribute.append(helper.make_attribute("then_branch", model.graph))


def sub_graphs(model):
    model.graph.node[3].attribute.append(helper.make_attribute("branches", [model.graph]))


def function(model):
    model.functions.add(name="Tanh", domain="local")


def training(model):
    model.training_info.add()


def metadata(model):
    model.metadata_props.add(key="source", value="/home/someone/train.py")


def node_metadata(model):
    model.graph.node[0].metadata_props.add(key="pkg.torch.onnx.stack_trace", value="File ...")


def node_domain(model):
    model.graph.node[3].domain = "com.example"


def other_domain(model):
    model.opset_import[0].domain = "com.example"


def second_domain(model):
    model.opset_import.add(domain="com.example", version=1)


def unknown_operator(model):
    model.graph.node[3].op_type = "Loop"


def sparse_tensor(model):
    model.graph.sparse_initializer.add()


def not_a_number(model):
    model.graph.initializer[0].raw_data = np.array([1.0, np.nan], np.float32).tobytes()


def infinity_in_an_attribute(model):
    model.graph.node[1].attribute[0].t.raw_data = np.array([np.inf], np.float32).tobytes()


def short_tensor(model):
    model.graph.initializer[0].raw_data = b"\0" * 4


def double_tensor(model):
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((2, 1)), "weight"))


def tensor_as_list(model):
    model.graph.initializer[0].CopyFrom(helper.make_tensor("weight", TensorProto.FLOAT, (2, 1), [1.0, 2.0]))


def integer_division(model):
    """onnxruntime's process ends by a signal where the least integer is divided by -1."""
    least = numpy_helper.from_array(np.array([-(2**63)]), "least")
    model.graph.initializer.append(least)
    model.graph.node.append(helper.make_node("Div", ["least", "least"], ["quotient"]))


def integer_constant(model):
    model.graph.node[1].attribute[0].CopyFrom(helper.make_attribute("value_int", 2))


def moved_integer(model):
    model.graph.node.append(helper.make_node("Shape", ["observation"], ["shape"]))
    model.graph.node.append(helper.make_node("Identity", ["shape"], ["moved"]))
    model.graph.node.append(helper.make_node("Add", ["moved", "moved"], ["sum"]))


def cast_to_an_integer(model):
    model.graph.node.append(helper.make_node("Cast", ["action"], ["number"], to=TensorProto.INT64))


def integer_made_after_its_use(model):
    model.graph.node.append(helper.make_node("Abs", ["shape"], ["size"]))
    model.graph.node.append(helper.make_node("Shape", ["observation"], ["shape"]))


def not_a_number_as_attribute(model):
    model.graph.node[0].attribute[0].f = float("nan")


def infinity_as_attribute(model):
    model.graph.node.append(helper.make_node("LeakyRelu", ["action"], ["leaky"], alpha=float("-inf")))


def infinity_in_a_list(model):
    values = helper.make_attribute("value_floats", [1.0, float("inf")])
    model.graph.node[1].attribute[0].CopyFrom(values)


def not_a_number_as_constant(model):
    model.graph.node[1].attribute[0].CopyFrom(helper.make_attribute("value_float", float("nan")))


def attribute_twice(model):
    model.graph.node[0].attribute.append(helper.make_attribute("alpha", 2.0))


def attribute_of_two_kinds(model):
    model.graph.node[0].attribute[0].i = 7


def attribute_of_another_type(model):
    model.graph.node[0].attribute[0].type = onnx.AttributeProto.INT


def attribute_without_type(model):
    model.graph.node[0].attribute[0].ClearField("type")


def attribute_without_value(model):
    model.graph.node[0].attribute[0].ClearField("f")


def tensor_name_twice(model):
    model.graph.initializer.append(model.graph.initializer[0])


def tensor_of_many_dimensions(model):
    model.graph.initializer[0].dims.extend([1] * 9)


def empty_tensor_of_a_negative_size(model):
    model.graph.initializer[0].raw_data = b""
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([0, -1])


def sequence_as_input(model):
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def metadata_of_an_input(model):
    model.graph.input[0].doc_string = "/home/someone/train.py"


def no_graph(model):
    model.ClearField("graph")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (external_data, "the tensor holds data in another file"),
        (external_data_in_an_attribute, "the tensor holds data in another file"),
        (sub_graph, "the attribute holds a sub-graph"),
        (sub_graphs, "the attribute holds a sub-graph"),
        (function, "the model holds a function"),
        (training, "the model holds training information"),
        (metadata, "the model holds metadata"),
        (node_metadata, "the node holds field 9"),
        (node_domain, "the node holds an operator domain"),
        (other_domain, "expected the standard operator domain, found 'com.example'"),
        (second_domain, "expected one operator set, found 2"),
        (unknown_operator, "expected operators that docs/bundle.md lists, found 'Loop'"),
        (sparse_tensor, "the graph holds a sparse tensor"),
        (not_a_number, "tensor 'weight': expected finite numbers, found NaN or infinity"),
        (infinity_in_an_attribute, "tensor 'value': expected finite numbers, found NaN or infinity"),
        (short_tensor, "tensor 'weight': expected 8 bytes, found 4"),
        (double_tensor, "tensor 'weight': expected float32, int32, int64 or bool, found ONNX data type 11"),
        (tensor_as_list, "the tensor holds field 4"),
        (
            integer_division,
            "expected integers as shapes, indices and axes only, found one as input 0 of 'Div'",
        ),
        (integer_constant, "expected integers as .* found one as input 1 of 'Mul'"),
        (moved_integer, "expected integers as .* found one as input 0 of 'Add'"),
        (cast_to_an_integer, r"expected a Cast to float32 or bool, found ONNX data type 7"),
        (integer_made_after_its_use, "expected every node after those whose values it takes, found 'Shape'"),
        (not_a_number_as_attribute, "attribute 'alpha': expected finite numbers, found NaN or infinity"),
        (infinity_as_attribute, "attribute 'alpha': expected finite numbers, found NaN or infinity"),
        (infinity_in_a_list, "attribute 'value_floats': expected finite numbers, found NaN or infinity"),
        (not_a_number_as_constant, "attribute 'value_float': expected finite numbers, found NaN or"),
        (attribute_twice, "expected each attribute of 'Gemm' once, found 'alpha' twice"),
        (attribute_of_two_kinds, "attribute 'alpha': expected one value of type 1, found another"),
        (attribute_of_another_type, "attribute 'alpha': expected one value of type 2, found another"),
        (attribute_without_type, "expected one type of the attribute 'alpha', found 0"),
        (attribute_without_value, "attribute 'alpha': expected one value, found 0"),
        (tensor_name_twice, "tensor 'weight': expected one tensor of this name, found two"),
        (tensor_of_many_dimensions, "tensor 'weight': expected at most 8 dimensions"),
        (empty_tensor_of_a_negative_size, "tensor 'weight': expected at most 8 dimensions of at most"),
        (sequence_as_input, "the type holds field 4"),
        (metadata_of_an_input, "the value_info holds field 3"),
        (no_graph, "expected one graph, found 0"),
    ],
)
def test_refuses(change, sentence):
    model = make_model()
    change(model)
    with pytest.raises(BundleError, match=f"policy.onnx: {sentence}"):
        read_graph(model.SerializeToString())


def test_integers_may_be_shapes_indices_and_axes():
    model = make_model()
    indices, axes = (numpy_helper.from_array(np.array([0]), name) for name in ("indices", "axes"))
    model.graph.initializer.extend([indices, axes])
    model.graph.node.extend(
        [
            helper.make_node("Shape", ["observation"], ["shape"]),
            helper.make_node("Gather", ["shape", "indices"], ["rows"]),
            helper.make_node("Concat", ["rows", "indices"], ["target"], axis=0),
            helper.make_node("Reshape", ["action", "target"], ["reshaped"]),
            helper.make_node("ReduceSum", ["reshaped", "axes"], ["reduced"]),
            helper.make_node("Slice", ["reduced", "indices", "indices", "", "indices"], ["cut"]),
            helper.make_node("Cast", ["cut"], ["truth"], to=TensorProto.BOOL),
        ]
    )
    assert "Reshape" in read_graph(model.SerializeToString()).operators


def test_a_field_given_twice_cannot_hide_the_first():
    model = make_model()
    second = onnx.ModelProto(graph=model.graph).SerializeToString()
    with pytest.raises(BundleError, match="expected one graph, found 2"):
        read_graph(model.SerializeToString() + second)


def test_every_truncation_is_refused():
    data = make_model().SerializeToString()
    for size in range(len(data)):
        with pytest.raises(BundleError, match=r"policy\.onnx"):
            read_graph(data[:size])


@given(st.binary(max_size=200))
@example(b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
@example(b"\xff" * 12)
def test_any_other_bytes_are_refused_and_nothing_else_happens(data):
    with pytest.raises(BundleError):
        read_graph(data)
