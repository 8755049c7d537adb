"""A policy that describes itself is written without a trace, and acts as the traced one does."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from bundle_factories import make_spec, term_tree

from sacpipe.bundle.graph_check import check_graph
from sacpipe.export.inputs import recorded_inputs, synthetic_inputs
from sacpipe.export.onnx import described_graph, export_policy, is_described, onnx_terms, policy_file
from sacpipe.export.traced import traced_graph
from sacpipe.networks.normaliser import Normaliser
from sacpipe.networks.policies import POLICY_KINDS
from sacpipe.networks.policies.deterministic import DeterministicPolicy
from sacpipe.networks.trunks.mlp import MLPTrunk

NAMES = ["speed", "observation", "hidden_0_weight", "head", "low", "scaled", "row_0_shape"]
"""Names of terms; most are those that a description would give to its own values."""


def random_spec(draws, *, image):
    shapes = [(), (1,), (3,), (2, 2), (5,), (1, 3, 2), (7,)]
    groups = [["policy"], ["policy", "critic"], ["critic"]]
    terms = [
        term_tree(name, *shapes[draws.integers(len(shapes))], groups=groups[draws.integers(3)])
        for name in draws.permutation(NAMES)[: draws.integers(1, len(NAMES))].tolist()
    ]
    terms.append(term_tree("state", int(draws.integers(1, 9))))
    if image:
        sizes = draws.integers(9, 14, 2).tolist()
        terms.insert(int(draws.integers(len(terms))), term_tree("camera", *sizes, 3, dtype="uint8"))
    lows = draws.uniform(-3.0, 0.0, draws.integers(1, 5))
    return make_spec(
        observation=terms,
        action=[
            {"name": f"joint_{n}", "unit": "N m", "low": float(low), "high": float(low + 2.3)}
            for n, low in enumerate(lows)
        ],
    ).policy_spec


def random_policy(draws, spec):
    has_image = bool(spec.layout.image_terms)
    hidden = draws.integers(1, 40, draws.integers(0, 4)).tolist()
    trunk = {"name": "conv", "channels": [3, 4]} if has_image else {"name": "mlp"}
    names = [term.name for term in spec.layout.vector_terms]
    chosen = draws.permutation(names)[: draws.integers(0, len(names) + 1)].tolist()
    tree = {"trunk": trunk | {"hidden_dims": hidden}, "normalised_terms": chosen}
    kind = "deterministic" if draws.integers(2) else "squashed_gaussian"
    if kind == "squashed_gaussian":
        tree["log_std_bounds"] = [-5.0, 2.0]
    network = POLICY_KINDS.find(kind).parse(tree).build(spec)
    network.reset(torch.Generator().manual_seed(int(draws.integers(100))))
    for _ in range(20):
        network.observe(observed(draws, spec, 1).rows(0))
    return network.eval()


def observed(draws, spec, num):
    observations = spec.layout.empty(num)
    observations.vector[:] = draws.normal(2.0, 5.0, observations.vector.shape)
    for image in observations.images.values():
        image[...] = draws.integers(0, 256, image.shape)
    return observations


def opened(policy_onnx):
    session = onnxruntime.InferenceSession(policy_onnx, providers=["CPUExecutionProvider"])
    ports = [
        [(port.name, port.type, port.shape) for port in side()]
        for side in (session.get_inputs, session.get_outputs)
    ]
    return session, ports


def traced_file(policy, spec, opset=20):
    examples = recorded_inputs(observed(np.random.default_rng(0), spec, 2), policy.noise_dim).tensors()
    return policy_file(traced_graph(policy, spec, examples, opset), spec, policy.noise_dim, opset)


@pytest.mark.slow
@pytest.mark.parametrize("image", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_acts_as_the_traced_one_under_the_same_contract(seed, image):
    draws = np.random.default_rng([seed, image])
    spec = random_spec(draws, image=image)
    policy = random_policy(draws, spec)
    written, traced = export_policy(policy, spec, 20), traced_file(policy, spec)
    assert described_graph(policy, spec) is not None
    terms, others = onnx_terms(written, spec, None), onnx_terms(traced, spec, None)
    assert terms.replace(operators=others.operators) == others
    check_graph(written, terms)
    (session, ports), (other, other_ports) = opened(written), opened(traced)
    assert ports == other_ports
    kinds = synthetic_inputs(spec, None) | {"recorded": recorded_inputs(observed(draws, spec, 50), None)}
    for kind, inputs in kinds.items():
        actions, expected = (one.run(["action"], inputs.feeds())[0] for one in (session, other))
        np.testing.assert_allclose(actions, expected, rtol=0, atol=2e-6, err_msg=kind)


@pytest.mark.slow
@pytest.mark.parametrize("opset", [18, 25])
def test_each_operator_set_gives_the_same_actions(opset):
    draws = np.random.default_rng(1)
    spec = random_spec(draws, image=False)
    policy = random_policy(draws, spec)
    feeds = recorded_inputs(observed(draws, spec, 20), None).feeds()
    actions, expected = (
        opened(export_policy(policy, spec, version))[0].run(["action"], feeds)[0] for version in (opset, 20)
    )
    np.testing.assert_array_equal(actions, expected)


def build(trunk=None, normalised=()):
    spec = make_spec(3)
    tree = {"trunk": trunk or {"name": "mlp", "hidden_dims": [8, 4]}, "normalised_terms": list(normalised)}
    policy = POLICY_KINDS.find("deterministic").parse(tree).build(spec)
    policy.reset(torch.Generator().manual_seed(0))
    return policy.eval(), spec


def test_names_tell_what_each_value_is():
    policy, spec = build(normalised=["state"])
    graph = onnx.load_from_string(export_policy(policy, spec, 20)).graph
    assert [node.name for node in graph.node] == [
        "centred", "scaled", "clipped", "hidden_0", "relu_0", "hidden_1", "relu_1", "head", "squashed",
        "share", "raised", "stretched", "scaled_action", "not_below", "not_above",
    ]  # fmt: skip
    assert [tensor.name for tensor in graph.initializer][:8] == [
        "mean", "scale", "lowest", "highest",
        "hidden_0_weight", "hidden_0_bias", "hidden_1_weight", "hidden_1_bias",
    ]  # fmt: skip


def test_nothing_is_traced(monkeypatch):
    policy, spec = build()
    monkeypatch.setattr("sacpipe.export.onnx.traced_graph", None)
    assert export_policy(policy, spec, 20) == export_policy(policy, spec, 20)


class Halved(DeterministicPolicy):
    """A kind with a function of its own, under the description of another."""

    def forward(self, *terms):
        return 0.5 * super().forward(*terms)


class Described(Halved):
    """The same, with its own description."""

    def describe(self, graph):
        return graph.add("Mul", (super().describe(graph), graph.constant("half", 0.5)), "halved")


class Leaky(MLPTrunk):
    def forward(self, inputs, extra=None, members=None):
        return super().forward(inputs, extra, members) - 0.1


class Unclipped(Normaliser):
    def forward(self, observations):
        return (observations - self.mean) * self.scale


class Undescribed(torch.nn.Module):
    """A network of another package, in the place of ours."""

    def __init__(self, network):
        super().__init__()
        self.inner = network

    def forward(self, inputs):
        return self.inner(inputs)

    def first_outputs(self, inputs, count):
        return self.inner.first_outputs(inputs, count)


@pytest.mark.parametrize(
    ("part", "kind"), [("", Halved), ("network.trunk", Leaky), ("normaliser", Unclipped)]
)
def test_a_part_with_a_function_of_its_own_is_traced(part, kind):
    policy, spec = build(normalised=["state"])
    assert is_described(policy)
    policy.get_submodule(part).__class__ = kind
    assert not is_described(policy)
    assert described_graph(policy, spec) is None


def test_a_function_that_was_put_in_the_place_of_its_own_is_traced():
    policy, spec = build()
    policy.forward = lambda *terms: 0.5 * type(policy).forward(policy, *terms)
    assert described_graph(policy, spec) is None


def test_a_network_of_another_package_is_traced():
    policy, spec = build()
    policy.network = Undescribed(policy.network)
    assert described_graph(policy, spec) is None
    assert described_graph(torch.nn.Identity(), spec) is None


def test_a_kind_of_another_package_may_describe_itself():
    policy, spec = build()
    policy.__class__ = Described
    feeds = recorded_inputs(observed(np.random.default_rng(3), spec, 9), None)
    actions = opened(export_policy(policy, spec, 20))[0].run(["action"], feeds.feeds())[0]
    with torch.no_grad():
        expected = spec.to_task_units(policy(*feeds.tensors()).numpy())
    assert described_graph(policy, spec) is not None
    np.testing.assert_allclose(actions, expected, atol=1e-6)


@pytest.mark.parametrize("noise_dim", [2, 5])
def test_a_network_with_noise_is_described(noise_dim):
    """Noise as long as the action is added whole, longer noise by its first entries."""
    spec = make_spec(3)
    tree = {"trunk": {"name": "mlp", "hidden_dims": [8, 4]}, "normalised_terms": ["state"]}
    policy = POLICY_KINDS.find("sampling_network").parse(tree | {"noise_dim": noise_dim}).build(spec)
    policy.reset(torch.Generator().manual_seed(0))
    assert described_graph(policy.eval(), spec) is not None
    written = export_policy(policy, spec, 20)
    check_graph(written, onnx_terms(written, spec, noise_dim))
    inputs = recorded_inputs(observed(np.random.default_rng(0), spec, 50), noise_dim)
    (actions,) = opened(written)[0].run(["action"], inputs.feeds())
    with torch.no_grad():
        expected = spec.to_task_units(policy(*inputs.tensors()).numpy())
    np.testing.assert_allclose(actions, expected, atol=1e-5)
