"""Each bound of a graph at its value, with graphs that take no memory, and each fault to the letter."""

import numpy as np
import pytest

from sacpipe.bundle.graph_size import check_size
from sacpipe.bundle.policy_graph import Graph, GraphFacts, Node, Port
from sacpipe.core.errors import BundleError

DIM = 6
FACTS = GraphFacts(ir_version=10, opset_version=20, operators=())
INPUTS = [Port("observation", "float32", ["batch", DIM])]


def graph(*nodes, **shapes) -> Graph:
    """A graph of nodes: operator, inputs and outputs; its tensors are float32 and take no memory."""
    tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    return Graph(FACTS, tensors, INPUTS, [], [Node(*one, {}) for one in nodes])


def refused(refusing: Graph, file_bytes=0) -> str:
    with pytest.raises(BundleError) as refusal:
        check_size(refusing, file_bytes)
    return str(refusal.value)


def test_values_may_take_all_bytes_and_not_one_number_more():
    """The product of 2**10 and 2**13 numbers takes 2**26 bytes, and the file stands for 4 bytes for each of its."""
    product = ("MatMul", ["c", "r"], ["p"])
    shapes = {"c": (2**10, 1), "r": (1, 2**13), "one": (1,)}
    check_size(graph(product, **shapes), 0)
    check_size(graph(product, ("Abs", ["one"], ["a"]), **shapes), 2)
    assert refused(graph(product, ("Abs", ["one"], ["a"]), **shapes), file_bytes=1) == (
        "policy.onnx: expected values of at most 67108868 bytes for one observation, found more from 'Abs' on, to "
        "the shape [1]. Export the policy again with `sacpipe`."
    )


def test_all_operations_may_be_used_and_not_one_more():
    product = ("MatMul", ["a", "b"], ["p"])
    shapes = {"a": (2**10, 2**9), "b": (2**9, 2**9), "one": (1,)}
    check_size(graph(product, **shapes), 0)
    assert refused(graph(product, ("Abs", ["one"], ["c"]), **shapes)) == (
        "policy.onnx: expected at most 268435456 operations for one observation, found more from 'Abs' on. Export "
        "the policy again with `sacpipe`."
    )


def test_the_largest_rank_and_the_largest_dimension_are_allowed():
    check_size(graph(("Abs", ["t"], ["made"]), t=(1,) * 8), 0)
    check_size(graph(("Abs", ["t"], ["made"]), t=(0, 2**31 - 1)), 0)
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
    check_size(found, 0)
    check_size(graph(("LayerNormalization", ["observation", "v"], ["y", "", ""]), v=(DIM,)), 0)


def test_an_output_has_the_shape_that_it_declares():
    """The input has 6 numbers, so its absolute values have 6 too."""
    made = graph(("Abs", ["observation"], ["action"]))
    check_size(made._replace(outputs=[Port("action", "float32", ["batch", DIM])]), 0)
    for port, found in (
        (
            Port("action", "float32", ["batch", 7]),
            "expected 'action' of shape ['batch', 7], found shape [1, 6]",
        ),
        (Port("other", "float32", ["batch", 6]), "expected 'other' of shape ['batch', 6], found none"),
    ):
        assert refused(made._replace(outputs=[port])) == (
            f"policy.onnx: {found} for one observation. Export the policy again with `sacpipe`."
        )


def test_temporary_memory_counts():
    """A kernel of 1 by 1 on 512 by 1024: 4 MiB of output, and 64 MiB of input with 16 channels."""
    shapes = {"image": (1, 1, 512, 1024), "kernel": (1, 1, 1, 1)}
    assert refused(graph(("Conv", ["image", "kernel"], ["made"]), **shapes)) == (
        "policy.onnx: expected values of at most 67108864 bytes for one observation, found more from 'Conv' on, to "
        "the shape [1, 1, 512, 1024]. Export the policy again with `sacpipe`."
    )
