"""Each bound of a graph at its value, with graphs that take no memory, and each fault to the letter."""

import numpy as np
import pytest

from sacpipe.bundle.graph_size import check_size
from sacpipe.bundle.policy_graph import Graph, GraphFacts, Node
from sacpipe.core.errors import BundleError

DIM = 6
FACTS = GraphFacts(ir_version=10, opset_version=20, operators=())
INPUTS = [("observation", ["batch", DIM])]


def graph(*nodes, **shapes) -> Graph:
    """A graph of nodes: operator, inputs and outputs; its tensors are float32 and take no memory."""
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    return Graph(FACTS, tensors, INPUTS, [Node(*one, {}) for one in nodes])


def refused(refusing: Graph, file_bytes=0) -> str:
    with pytest.raises(BundleError) as refusal:
        check_size(refusing, DIM, file_bytes)
    return str(refusal.value)


def test_values_may_take_all_bytes_and_not_one_number_more():
    """The product of 2**10 and 2**13 numbers takes 2**26 bytes, and the file stands for 4 bytes for each of its."""
    product = ("MatMul", ["c", "r"], ["p"])
    shapes = {"c": (2**10, 1), "r": (1, 2**13), "one": (1,)}
    check_size(graph(product, **shapes), DIM, 0)
    check_size(graph(product, ("Abs", ["one"], ["a"]), **shapes), DIM, 2)
    assert refused(graph(product, ("Abs", ["one"], ["a"]), **shapes), file_bytes=1) == (
        "policy.onnx: expected values of at most 67108868 bytes for one observation, found more from 'Abs' on, to "
        "the shape [1]. Export the policy again with `sacpipe`."
    )


def test_all_operations_may_be_used_and_not_one_more():
    product = ("MatMul", ["a", "b"], ["p"])
    shapes = {"a": (2**10, 2**9), "b": (2**9, 2**9), "one": (1,)}
    check_size(graph(product, **shapes), DIM, 0)
    assert refused(graph(product, ("Abs", ["one"], ["c"]), **shapes)) == (
        "policy.onnx: expected at most 268435456 operations for one observation, found more from 'Abs' on. Export "
        "the policy again with `sacpipe`."
    )


def test_the_largest_rank_and_the_largest_dimension_are_allowed():
    check_size(graph(("Abs", ["t"], ["made"]), t=(1,) * 8), DIM, 0)
    check_size(graph(("Abs", ["t"], ["made"]), t=(0, 2**31 - 1)), DIM, 0)
    limit = "policy.onnx: expected at most 8 dimensions of at most 2147483647, found a 'Abs' to"
    end = "Export the policy again with `sacpipe`."
    assert refused(graph(("Abs", ["t"], ["m"]), t=(0, 2**31))) == f"{limit} [0, {2**31}]. {end}"
    assert refused(graph(("Abs", ["t"], ["m"]), t=range(11))) == f"{limit} [0, 1, 2, 3, 4, 5, 6, 7, 8]. {end}"


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        (("Abs", ["late"], ["m"]), "every node after those whose values it takes, found 'Abs'"),
        (("Abs", ["one"], ["one"]), "one value of each name, found 'one' twice"),
        (("Abs", ["one"], ["a", "b"]), "at most 1 outputs of 'Abs', found 2"),
        (("MatMul", ["one"], ["a"]), "a 'MatMul' whose shape can be computed, found no input 1"),
        (("Concat", ["one"], ["a"]), "a 'Concat' whose shape can be computed, found 'axis'"),
    ],
)
def test_the_fault_names_the_operator(node, sentence):
    assert (
        refused(graph(node, one=(1,)))
        == f"policy.onnx: expected {sentence}. Export the policy again with `sacpipe`."
    )


def test_outputs_may_be_left_out():
    """The second output of three has no name, so another node may make a value for each name."""
    found = graph(
        ("LayerNormalization", ["observation", "v"], ["y", "", "d"]), ("Abs", ["d"], ["e"]), v=(DIM,)
    )
    check_size(found, DIM, 0)
    check_size(graph(("LayerNormalization", ["observation", "v"], ["y", "", ""]), v=(DIM,)), DIM, 0)


def test_nine_inputs_are_shown():
    many = graph()._replace(inputs=[(str(place), []) for place in range(11)])
    assert refused(many) == (
        "policy.onnx: expected one input 'observation', tensor(float) ['batch', 6], found [('0', []), ('1', []), "
        "('2', []), ('3', []), ('4', []), ('5', []), ('6', []), ('7', []), ('8', [])]. Export the policy again with "
        "`sacpipe`."
    )
