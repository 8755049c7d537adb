"""Graphs that a robot must not load. Kind: what changes the good graph, and the rules that may refuse it.

The contract always states the graph's own operators and versions, so that the reason is the graph and not a
difference between the two.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from forged_bundles import change_contract, reseal
from onnx import TensorProto, helper, numpy_helper

Change = Callable[[onnx.ModelProto], Any]
_GRAPH = frozenset({"graph"})
_LOADING = frozenset({"graph", "tensors"})
_STATED = _LOADING | {"contract"}
"""The contract states it too."""
_COSTLY = frozenset({"graph", "tensors", "process", "timing"})
_WRONG = frozenset({"graph", "tensors", "golden"})


def install(folder: Path, change: Change) -> None:
    """Change the bundle's graph and make contract and manifest agree. A change may return other bytes."""
    model = onnx.load_model_from_string((folder / "policy.onnx").read_bytes())
    data = change(model)
    facts = {
        "operators": sorted({node.op_type for node in model.graph.node}),
        "opset_version": model.opset_import[0].version if model.opset_import else 20,
        "ir_version": model.ir_version,
    }
    change_contract(folder, lambda tree: tree["onnx"].update(facts))
    reseal(folder, "policy.onnx", data if isinstance(data, bytes) else model.SerializeToString())


def _node(operator: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def _array(model: onnx.ModelProto, name: str, value: Any) -> str:
    model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _place_of(model: onnx.ModelProto, operator: str) -> int:
    """Return the place of the first node of an operator."""
    return next(index for index, node in enumerate(model.graph.node) if node.op_type == operator)


def _mix_in(model: onnx.ModelProto, nodes: list[onnx.NodeProto], value: str) -> None:
    """Add 0 times a value to what the policy computes, so that the nodes run and the actions stay."""
    _array(model, "nothing", np.float32(0.0))
    # At the end are Max and Min, which limit the actions; `scaled` goes into Max.
    nodes += [_node("Mul", [value, "nothing"], "weightless"), _node("Add", ["scaled", "weightless"], "mixed")]
    place = _place_of(model, "Max")
    model.graph.node[place].input[0] = "mixed"
    for node in reversed(nodes):
        model.graph.node.insert(place, node)


def _expanded(model: onnx.ModelProto) -> None:
    """One number becomes two gigabytes."""
    one, shape = _array(model, "one", np.ones(1, np.float32)), _array(model, "shape", np.array([2**29]))
    nodes = [_node("Expand", [one, shape], "wide"), _node("ReduceMax", ["wide"], "widest", keepdims=0)]
    _mix_in(model, nodes, "widest")


def _expanded_input(model: onnx.ModelProto) -> None:
    """A term itself becomes gigabytes: no optimiser can compute that beforehand."""
    shape = _array(model, "shape", np.array([2**26, 1, 2]))
    nodes = [
        _node("Expand", ["position", shape], "wide"),
        _node("ReduceMax", ["wide"], "widest", keepdims=0),
    ]
    _mix_in(model, nodes, "widest")


def _doubled(model: onnx.ModelProto) -> None:
    """Each node doubles the size of its input: 2 ** 28 numbers after 28 nodes."""
    value, nodes = "position", []
    for index in range(28):
        nodes.append(_node("Concat", [value, value], f"doubled_{index}", axis=1))
        value = f"doubled_{index}"
    nodes.append(_node("ReduceMax", [value], "widest", keepdims=0))
    _mix_in(model, nodes, "widest")


def _outer_product(model: onnx.ModelProto) -> None:
    tall = _array(model, "tall", np.ones((30_000, 1), np.float32))
    wide = _array(model, "wide", np.ones((1, 30_000), np.float32))
    nodes = [_node("MatMul", [tall, wide], "square"), _node("ReduceMax", ["square"], "largest", keepdims=0)]
    _mix_in(model, nodes, "largest")


def _slow(model: onnx.ModelProto) -> None:
    """Products of large matrices that depend on the observation: seconds for each action."""
    square = _array(model, "square", np.full((1500, 1500), 1e-4, np.float32))
    first = _node("ReduceMean", ["position"], "mean", keepdims=0)
    nodes, value = [first, _node("Mul", ["mean", square], "product_0")], "product_0"
    for index in range(1, 40):
        nodes.append(_node("MatMul", [value, square], f"product_{index}"))
        value = f"product_{index}"
    nodes.append(_node("ReduceMax", [value], "largest", keepdims=0))
    _mix_in(model, nodes, "largest")


def _deep(model: onnx.ModelProto) -> None:
    value, nodes = "scaled", []
    for index in range(60_000):
        nodes.append(_node("Abs", [value], f"deep_{index}"))
        value = f"deep_{index}"
    _array(model, "nothing", np.float32(0.0))
    del model.graph.node[_place_of(model, "Max") :]
    model.graph.node.extend(nodes)
    model.graph.node.append(_node("Identity", [value], "action"))


def _cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "limited_again"
    model.graph.node.insert(0, _node("Identity", ["floored"], "limited_again"))


def _attribute(operator: str, **attributes: Any) -> Change:
    """Return a change that puts a node with these attributes before the limits."""

    def change(model: onnx.ModelProto) -> None:
        place = _place_of(model, "Max")
        node = _node(operator, [model.graph.node[place].input[0]], "changed", **attributes)
        model.graph.node[place].input[0] = "changed"
        model.graph.node.insert(place, node)

    return change


def _constant(**value: Any) -> Change:
    """Return a change that adds a Constant to the actions."""

    def change(model: onnx.ModelProto) -> None:
        _mix_in(model, [_node("Constant", [], "constant", **value)], "constant")

    return change


def _initializer(change: Callable[[onnx.TensorProto], object]) -> Change:
    return lambda model: change(model.graph.initializer[0])


def _external(tensor: onnx.TensorProto) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")


def _hidden_external(tensor: onnx.TensorProto) -> None:
    tensor.external_data.add(key="location", value="weights.bin")


def _dims(*dims: int) -> Change:
    def change(tensor: onnx.TensorProto) -> None:
        del tensor.dims[:]
        tensor.dims.extend(dims)

    return _initializer(change)


def _strings(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("texts", TensorProto.STRING, [1], [b"x"]))


def _of_type(dtype: Any) -> Change:
    return lambda model: _array(model, "other", np.ones(2, dtype))


def _sub_graph(model: onnx.ModelProto) -> None:
    body = helper.make_graph([_node("Identity", ["scaled"], "inner")], "body", [], [])
    model.graph.node[1].attribute.append(helper.make_attribute("then_branch", body))


def _divided_integers(model: onnx.ModelProto) -> None:
    """The lowest integer divided by -1 ends the process by a signal."""
    lowest, minus = _array(model, "lowest", np.array([-(2**63)])), _array(model, "minus", np.array([-1]))
    _mix_in(model, [_node("Div", [lowest, minus], "q"), _node("Cast", ["q"], "f", to=1)], "f")


def _integers_of_the_observation(model: onnx.ModelProto) -> None:
    nodes = [
        _node("Cast", ["position"], "i", to=7),
        _node("Div", ["i", "i"], "q"),
        _node("Cast", ["q"], "f", to=1),
    ]
    _mix_in(model, [*nodes, _node("ReduceMax", ["f"], "m", keepdims=0)], "m")


def _node_of(operator: str, domain: str = "") -> Change:
    def change(model: onnx.ModelProto) -> None:
        _attribute(operator)(model)
        next(node for node in model.graph.node if node.op_type == operator).domain = domain

    return change


def _twice(model: onnx.ModelProto) -> None:
    model.graph.node.append(_node("Identity", ["position"], "action"))


def _second_weight(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((3, 2), np.float32), "weight"))


def _shadowed_input(model: onnx.ModelProto) -> None:
    """An initialiser with the name of an input: some readers then ignore the term."""
    _array(model, "position", np.zeros((1, 2), np.float32))


def _not_a_number(model: onnx.ModelProto) -> None:
    """The logarithm of a term: NaN for most of them, right for none."""
    _mix_in(model, [_node("Log", ["position"], "log"), _node("ReduceMin", ["log"], "m", keepdims=0)], "m")


def _rename_input(name: str) -> Change:
    """Return a change that gives the first input another name, in the nodes that take it too."""

    def change(model: onnx.ModelProto) -> None:
        before, model.graph.input[0].name = model.graph.input[0].name, name
        for node in model.graph.node:
            for index, value in enumerate(node.input):
                if value == before:
                    node.input[index] = name

    return change


def _swapped_inputs(model: onnx.ModelProto) -> None:
    """The same inputs in another order than the contract's."""
    first, second = model.graph.input
    names = (first.name, second.name)
    del model.graph.input[:]
    model.graph.input.extend([second, first])
    assert [found.name for found in model.graph.input] == [*names[::-1]]


def _without_input(model: onnx.ModelProto) -> None:
    """A network that does not take the last term, and a constant in its place."""
    name = model.graph.input.pop().name
    _array(model, name, np.zeros((1, 1), np.float32))


def _more_input(*shape: int | str, kind: int = TensorProto.FLOAT, name: str = "noise") -> Change:
    """Return a change that adds an input."""
    return _other(
        lambda model: model.graph.input.append(helper.make_tensor_value_info(name, kind, list(shape)))
    )


def _input_of(kind: int) -> Change:
    """Return a change of the type of the first input."""
    return _other(lambda model: setattr(model.graph.input[0].type.tensor_type, "elem_type", kind))


def _input_dims(*dims: int | str) -> Change:
    """Return a change of the shape of the first input."""

    def change(model: onnx.ModelProto) -> None:
        info = helper.make_tensor_value_info(model.graph.input[0].name, TensorProto.FLOAT, list(dims))
        model.graph.input[0].CopyFrom(info)

    return change


def _opaque(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(onnx.AttributeProto(name="x", type=onnx.AttributeProto.TENSOR))


def _other(change: Callable[[onnx.ModelProto], object]) -> Change:
    return lambda model: (change(model), None)[1]


GRAPHS: dict[str, tuple[Change, frozenset[str]]] = {
    "NaN in a tensor": (
        lambda model: model.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.full((3, 2), np.nan, np.float32), "weight")
        ),
        _GRAPH,
    ),
    "NaN in an attribute": (_attribute("LeakyRelu", alpha=float("nan")), _GRAPH),
    "infinity in an attribute": (_attribute("Elu", alpha=float("inf")), _GRAPH),
    "NaN in a Constant's number": (_constant(value_float=float("nan")), _GRAPH),
    "NaN in a Constant's list": (_constant(value_floats=[0.0, float("nan")]), _GRAPH),
    "infinity in a Constant's tensor": (
        _constant(value=numpy_helper.from_array(np.array([np.inf], np.float32))),
        _GRAPH,
    ),
    "numbers of the observation that are NaN": (_not_a_number, _WRONG),
    "data in another file": (_initializer(_external), _GRAPH),
    "data in another file, undeclared": (_initializer(_hidden_external), _GRAPH),
    "sub-graph": (_sub_graph, _GRAPH),
    "function": (_other(lambda model: model.functions.add(name="Tanh", domain="local")), _GRAPH),
    "training information": (_other(lambda model: model.training_info.add()), _GRAPH),
    "metadata": (_other(lambda model: model.metadata_props.add(key="k", value="v")), _GRAPH),
    "loop": (_node_of("Loop"), _GRAPH),
    "random numbers": (_node_of("Bernoulli"), _GRAPH),
    "operator of another domain": (_node_of("Tanh", "com.microsoft"), _GRAPH),
    "second operator domain": (
        _other(lambda model: model.opset_import.add(domain="com.microsoft", version=1)),
        _GRAPH,
    ),
    "no operator set": (_other(lambda model: model.ClearField("opset_import")), _GRAPH),
    "operator set of the future": (
        _other(lambda model: setattr(model.opset_import[0], "version", 2**40)),
        _STATED,
    ),
    "IR version of the future": (_other(lambda model: setattr(model, "ir_version", 2**40)), _STATED),
    "sparse tensor": (_other(lambda model: model.graph.sparse_initializer.add()), _GRAPH),
    "tensor of texts": (_strings, _GRAPH),
    "tensor of double precision": (_of_type(np.float64), _GRAPH),
    "tensor of complex numbers": (_of_type(np.complex64), _GRAPH),
    "tensor of half precision": (_of_type(np.float16), _GRAPH),
    "arithmetic with integers": (_divided_integers, _GRAPH),
    "integers of the observation": (_integers_of_the_observation, _GRAPH),
    "dimensions that multiply to nothing": (_dims(2**32, 2**32), _LOADING),
    "dimension below zero": (_dims(-1, -6), _LOADING),
    "dimensions of another product": (_dims(3, 3), _GRAPH),
    "dimensions transposed": (_dims(2, 3), _LOADING),
    "Expand of a constant to gigabytes": (_expanded, _COSTLY),
    "Expand of the observation to gigabytes": (_expanded_input, _COSTLY),
    "Concat that doubles and doubles": (_doubled, _COSTLY),
    "product of a column and a row": (_outer_product, _COSTLY),
    "seconds for an action": (_slow, _COSTLY),
    "deep graph": (_deep, _COSTLY | _WRONG),
    "cycle": (_cycle, _LOADING),
    "value computed twice": (_twice, _LOADING),
    "weight given twice": (_second_weight, _WRONG),
    "tensor with the input's name": (_shadowed_input, _LOADING),
    "value that no node computes": (
        _other(lambda model: model.graph.node[0].input.__setitem__(0, "missing")),
        _LOADING,
    ),
    "no node": (_other(lambda model: model.graph.ClearField("node")), _LOADING),
    "no graph": (_other(lambda model: model.ClearField("graph")), _LOADING | {"contract"}),
    "no output": (_other(lambda model: model.graph.ClearField("output")), _LOADING),
    "second output": (
        _other(lambda model: model.graph.output.append(model.graph.output[0])),
        _LOADING,
    ),
    "input of another name": (_rename_input("camera"), _LOADING),
    "input with the name of a member": (_rename_input("os:system"), _LOADING),
    "input with the name of the output": (_rename_input("action"), _LOADING),
    "input without a name": (_rename_input(""), _LOADING),
    "inputs in another order": (_other(_swapped_inputs), _LOADING),
    "input that the network lacks": (_other(_without_input), _LOADING),
    "noise that the contract lacks": (_more_input("batch", 2), _LOADING),
    "noise of a gigabyte": (_more_input("batch", 2**28), _LOADING),
    "input of uint8": (_input_of(TensorProto.UINT8), _LOADING),
    "input of int64": (_input_of(TensorProto.INT64), _LOADING),
    "input of texts": (_input_of(TensorProto.STRING), _LOADING),
    "input of another width": (_input_dims("batch", 3), _LOADING),
    "input of another batch": (_input_dims("rows", 2), _LOADING),
    "input of two batches": (_input_dims("batch", "batch"), _LOADING),
    "input without a shape": (_input_dims(), _LOADING),
    "input of a gigabyte": (_input_dims("batch", 2**28), _LOADING),
    "second input": (_other(lambda model: model.graph.input.append(model.graph.input[0])), _LOADING),
    "output of double precision": (
        _other(lambda model: setattr(model.graph.output[0].type.tensor_type, "elem_type", 11)),
        _LOADING,
    ),
    "fixed batch": (
        _other(lambda model: setattr(model.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 7)),
        _LOADING | {"golden"},
    ),
    "wrong actions": (
        _other(
            lambda model: model.graph.node[0].CopyFrom(
                _node("Concat", ["velocity", "position"], model.graph.node[0].output[0], axis=1)
            )
        ),
        _WRONG,
    ),
    "attribute without a value": (_opaque, _LOADING),
    "JSON": (lambda model: json.dumps({"graph": {}}).encode(), _GRAPH),
    "bytes of a pickle": (lambda model: b"\x80\x04cposix\nsystem\n(S'true'\ntR.", _GRAPH),
    "lengths beyond the file": (lambda model: b"\x3a\xff\xff\xff\xff\x0f" + b"x" * 100, _GRAPH),
    "hundred thousands of empty fields": (lambda model: b"\x12\x00" * 2**18, _GRAPH),
}
