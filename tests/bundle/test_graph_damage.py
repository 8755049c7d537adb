"""A graph in which one part is missing, twice, at its bound or of another kind; each fault to the letter."""

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from sacpipe.bundle import protobuf
from sacpipe.bundle.policy_graph import Node, Port, parse_graph
from sacpipe.core.errors import BundleError


def make_model(*nodes, **tensors) -> onnx.ModelProto:
    """Observation (batch, 2) through some nodes."""
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("action", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.asarray(rows), name) for name, rows in tensors.items()],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def abs_node():
    return helper.make_node("Abs", ["observation"], ["action"])


def refused(model: onnx.ModelProto) -> str:
    with pytest.raises(BundleError) as refusal:
        parse_graph(model.SerializeToString())
    text = str(refusal.value)
    assert text.startswith("policy.onnx: ")
    assert text.endswith(". Export the policy again with `sacpipe`.")
    return text.removeprefix("policy.onnx: ").removesuffix(". Export the policy again with `sacpipe`.")


def part(model, *path):
    for step in path:
        model = model[step] if isinstance(step, int) else getattr(model, step)
    return model


GRAPH_INPUT = ("graph", "input", 0)
DIM = (*GRAPH_INPUT, "type", "tensor_type", "shape", "dim")


@pytest.mark.parametrize(
    ("path", "field", "what"),
    [
        ((), "ir_version", "IR version"),
        ((), "opset_import", "operator set"),
        (("opset_import", 0), "domain", "operator domain"),
        (("opset_import", 0), "version", "operator set version"),
        (GRAPH_INPUT, "name", "name of an input or output"),
        (GRAPH_INPUT, "type", "type of 'observation'"),
        ((*GRAPH_INPUT, "type"), "tensor_type", "tensor type of 'observation'"),
        ((*GRAPH_INPUT, "type", "tensor_type"), "elem_type", "data type of 'observation'"),
        (("graph", "output", 0), "type", "type of 'action'"),
        ((*GRAPH_INPUT, "type", "tensor_type"), "shape", "shape of 'observation'"),
        ((*DIM, 1), "dim_value", "size of a dimension"),
        (("graph", "node", 0), "op_type", "operator name in a node"),
        (("graph", "node", 1, "attribute", 0), "name", "attribute name"),
        (("graph", "node", 1, "attribute", 0), "type", "type of the attribute 'axis'"),
        (("graph", "initializer", 0), "name", "name in a tensor"),
        (("graph", "initializer", 0), "data_type", "data type in tensor 'weight'"),
        (("graph", "initializer", 0), "raw_data", "block of raw data in tensor 'weight'"),
    ],
)
def test_the_part_that_is_missing_is_named(path, field, what):
    model = make_model(
        abs_node(), helper.make_node("Softmax", ["action"], ["soft"], axis=1), weight=np.ones(2, np.float32)
    )
    part(model, *path).ClearField(field)
    assert refused(model) == f"expected one {what}, found 0"


def test_a_dimension_has_one_name():
    data = make_model(abs_node()).SerializeToString()
    assert parse_graph(data).inputs == [Port("observation", "float32", ["batch", 2])]
    twice = data.replace(b"\x12\x05batch", b"\x12\x00\x12\x03bat", 1)
    with pytest.raises(BundleError, match="expected one name of a dimension, found 2"):
        parse_graph(twice)


def test_a_graph_without_nodes_tensors_and_inputs_is_empty():
    model = make_model()
    del model.graph.input[:]
    found = parse_graph(model.SerializeToString())
    assert (found.nodes, found.tensors, found.inputs, found.facts.operators) == ([], {}, [], ())


def test_an_input_without_dimensions_has_none():
    model = make_model(abs_node())
    del model.graph.input[0].type.tensor_type.shape.dim[:]
    assert parse_graph(model.SerializeToString()).inputs == [Port("observation", "float32", [])]


def test_nodes_are_as_in_the_file():
    table = np.array([[1, 2]], np.int32)
    attributes = {
        "number": 1.5,
        "least": -(2**63),
        "text": "tanh",
        "array": numpy_helper.from_array(table, "array"),
        "floats": [0.5, -2.0],
        "ints": [-1, 2],
    }
    node = helper.make_node("Elu", ["observation", "observation"], ["made", ""], **attributes)
    node.attribute.append(helper.make_attribute("none", [], attr_type=AttributeProto.INTS))
    node.attribute.append(helper.make_attribute("nothing", [], attr_type=AttributeProto.FLOATS))
    (found,) = parse_graph(make_model(node).SerializeToString()).nodes
    array = found.attributes.pop("array")
    assert (array.dtype, array.tolist()) == (np.int32, table.tolist())
    assert found == Node(
        "Elu",
        ["observation", "observation"],
        ["made", ""],
        {
            "number": 1.5,
            "least": -(2**63),
            "text": b"tanh",
            "floats": [0.5, -2.0],
            "ints": [-1, 2],
            "none": [],
            "nothing": [],
        },
    )


def test_a_name_that_is_not_utf_8_is_shown_with_marks():
    model = make_model(abs_node())
    data = model.SerializeToString().replace(b"observation\x12", b"observati\xffn\x12", 1)
    assert parse_graph(data).nodes[0].inputs == ["observati\N{REPLACEMENT CHARACTER}n"]


@pytest.mark.parametrize("kind", [AttributeProto.FLOAT, AttributeProto.INT, AttributeProto.STRING])
def test_an_attribute_without_its_value(kind):
    node = abs_node()
    node.attribute.append(AttributeProto(name="alpha", type=kind))
    assert refused(make_model(node)) == "attribute 'alpha': expected one value, found 0"


def test_an_input_without_a_name_is_named_by_its_operator():
    node = helper.make_node("Max", ["observation", ""], ["action"])
    assert refused(make_model(node)) == "expected a name for every input of 'Max', found an empty one"


INTEGER_CONSTANTS = [
    {"value": numpy_helper.from_array(np.array([1, 2]), "t")},
    {"value": numpy_helper.from_array(np.array([1, 2], np.int32), "t")},
    {"value_int": 2},
    {"value_ints": [1, 2]},
]


@pytest.mark.parametrize("value", INTEGER_CONSTANTS)
def test_an_integer_constant_is_an_integer(value):
    constant = helper.make_node("Constant", [], ["c"], **value)
    model = make_model(constant, helper.make_node("Add", ["observation", "c"], ["action"]))
    assert (
        refused(model) == "expected integers as shapes, indices and axes only, found one as input 1 of 'Add'"
    )


@pytest.mark.parametrize(
    "value",
    [
        {"value": numpy_helper.from_array(np.ones(2, np.float32), "t")},
        {"value_float": 2.0},
        {"value_floats": [1.0]},
    ],
)
def test_any_other_constant_is_not(value):
    constant = helper.make_node("Constant", [], ["c"], **value)
    parse_graph(
        make_model(constant, helper.make_node("Add", ["observation", "c"], ["action"])).SerializeToString()
    )


def with_dims(*dims):
    model = make_model(abs_node(), weight=np.zeros(0, np.float32))
    model.graph.initializer[0].dims[:] = dims
    return model


def test_the_largest_rank_and_the_largest_dimension_are_allowed():
    for dims in ((0,) * 8, (0, 2**31 - 1)):
        assert parse_graph(with_dims(*dims).SerializeToString()).tensors["weight"].shape == dims
    for dims in ((0,) * 9, (0, 2**31)):
        expected = "tensor 'weight': expected at most 8 dimensions of at most 2147483647"
        assert refused(with_dims(*dims)) == expected


def num_fields(message) -> int:
    """Return the number of fields that are read."""
    num = 0
    for field, value in message.ListFields():
        for one in value if field.is_repeated else [value]:
            num += 1
            if field.message_type is not None:
                num += num_fields(one)
    return num


def test_all_fields_of_the_file_are_counted(monkeypatch):
    model = make_model(abs_node(), weight=np.ones(2, np.float32))
    monkeypatch.setattr(protobuf, "MAX_FIELDS", num_fields(model))
    parse_graph(model.SerializeToString())
    model.graph.node[0].output.append("x")
    assert refused(model) == f"expected at most {protobuf.MAX_FIELDS} protobuf fields, found more"
