"""The squashed Gaussian's density against numerical integration; the paths of each policy kind against each other."""

import math

import numpy as np
import pytest
import torch
from bundle_factories import make_spec, term_tree

from sacpipe.core.errors import ConfigError
from sacpipe.networks.policies import POLICY_KINDS
from sacpipe.networks.policies.reparameterised import squashed_log_density
from sacpipe.networks.policies.squashed_gaussian import SquashedGaussianConfig
from sacpipe.networks.policy_file import make_policy
from sacpipe.testing.learner_tasks import draw_observations

MLP = {"name": "mlp", "hidden_dims": [8, 8]}
NORM = {"name": "layer_norm_mlp", "hidden_dims": [8, 8]}
CONV = {"name": "conv", "channels": [3, 5], "hidden_dims": [8]}
VECTOR = make_spec(3)
TERMS = make_spec(
    observation=[
        term_tree("mass", 2, groups=["critic"]),
        term_tree("pose", 2, 2),
        term_tree("load", groups=["policy"]),
        term_tree("state", 3),
    ]
)
IMAGES = make_spec(
    observation=[
        term_tree("front", 9, 11, 3, dtype="uint8"),
        term_tree("state", 3),
        term_tree("back", 8, 8, 1, dtype="uint8", groups=["policy"]),
    ]
)
FLOW = {"num_couplings": 3, "coupling_dim": 8, "max_log_scale": 2.0}
OWN_KEYS = {
    "squashed_gaussian": {"log_std_bounds": [-20.0, 2.0]},
    "sampling_network": {"noise_dim": 3},
    "real_nvp": FLOW,
}
ONLY_IMAGE = make_spec(observation=[term_tree("camera", 8, 8, 1, dtype="uint8")])


def make_network(kind="squashed_gaussian", spec=VECTOR, trunk=MLP, normalised=(), seed=0):
    tree = {"trunk": trunk, "normalised_terms": list(normalised)}
    if kind == "hierarchy":
        tree = {"upper": tree | FLOW, "lower": tree | FLOW}
    tree |= OWN_KEYS.get(kind, {})
    network = make_policy(POLICY_KINDS.find(kind).parse(tree), spec, "sac").network
    random = torch.Generator().manual_seed(seed)
    network.reset(random)
    if kind in ("real_nvp", "hierarchy"):
        draw_last_layers(network, random)
    return network


def draw_last_layers(network, random):
    """Give couplings last layers that are not zero, as after some training."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "couplings" in name and "output" in name:
                parameter.uniform_(-0.5, 0.5, generator=random)


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, 0.0), (1.5, -0.7), (-0.3, -3.0), (0.8, 0.4)])
def test_density_integrates_to_one_over_the_actions(mean, log_std):
    """Trapezoids over u, where da = (1 - tanh(u)^2) du: the density in a, not in u, must sum to one."""
    std = math.exp(log_std)
    unsquashed = torch.linspace(mean - 9 * std, mean + 9 * std, 20_001, dtype=torch.float64)
    noise = (unsquashed - mean) / std
    log_density = squashed_log_density(
        noise[:, None], torch.full((len(noise), 1), log_std, dtype=torch.float64), unsquashed[:, None]
    )
    integrand = log_density.exp() * (1 - torch.tanh(unsquashed).square())
    assert torch.trapezoid(integrand, unsquashed).item() == pytest.approx(1.0, abs=1e-6)


def test_density_by_hand():
    """At u = 0 with unit deviation: log N(0; 0, 1) = -0.9189385, and the squash's slope is 1, its log 0."""
    zero = torch.zeros(1, 1)
    assert squashed_log_density(zero, zero, zero).item() == pytest.approx(-0.9189385332046727)


def test_density_adds_up_over_dimensions():
    noise, log_std, unsquashed = torch.randn(3, 5, 4)
    whole = squashed_log_density(noise, log_std, unsquashed)
    parts = sum(
        squashed_log_density(noise[:, i : i + 1], log_std[:, i : i + 1], unsquashed[:, i : i + 1])
        for i in range(4)
    )
    torch.testing.assert_close(whole, parts)


def test_density_and_gradient_stay_finite_where_tanh_saturates():
    """At u = 30, tanh(u) is 1 in float32 and a naive log(1 - a^2) is minus infinity."""
    unsquashed = torch.tensor([[30.0], [-30.0], [300.0]], requires_grad=True)
    zeros = torch.zeros(3, 1)
    log_density = squashed_log_density(zeros, zeros, unsquashed)
    log_density.sum().backward()
    # log(1 - tanh(30)^2) = 2 (log 2 - 30) up to e^-60
    assert log_density[0].item() == pytest.approx(-0.9189385 + 60.0 - 2.0 * math.log(2.0), rel=1e-6)
    assert torch.isfinite(log_density).all()
    torch.testing.assert_close(unsquashed.grad, torch.tensor([[2.0], [-2.0], [2.0]]))


@pytest.mark.parametrize(
    ("spec", "trunk", "normalised"),
    [
        (VECTOR, MLP, ()),
        (VECTOR, MLP, ("state",)),
        (TERMS, MLP, ("load", "pose")),
        (TERMS, NORM, ("load",)),
        (IMAGES, CONV, ("state",)),
        (ONLY_IMAGE, CONV, ()),
    ],
)
@pytest.mark.parametrize("kind", POLICY_KINDS.ours)
def test_acting_alone_agrees_with_the_batched_and_the_exported_path(kind, spec, trunk, normalised):
    network = make_network(kind, spec, trunk, normalised)
    observations = draw_observations(spec, 1, 64)
    for row in range(64):
        network.observe(observations.rows(row))
    with torch.no_grad():
        terms = [torch.from_numpy(observations[term.name]) for term in spec.policy_spec.observation]
        inputs = network.inputs.of(observations)
        if kind in ("real_nvp", "hierarchy"):
            exported, batched = network(*terms), network.sample(inputs, torch.zeros(64, 2)).actions
        elif network.noise_dim is None:
            exported, batched = network(*terms), torch.tanh(network.output(inputs)[:, :2])
        else:
            noise = torch.zeros(64, network.noise_dim)
            exported = network(*terms, noise)
            batched = torch.tanh(network.unsquashed(network.normalised(inputs), noise))
    alone = [network.act(observations.rows(row), None) for row in range(64)]
    np.testing.assert_allclose(alone, exported, atol=1e-5)
    np.testing.assert_allclose(batched, exported, atol=1e-5)


def test_a_sampling_network_acts_by_the_noise_that_a_generator_draws():
    """noise_dim numbers an action; the first two are added to the network's output."""
    network, observations = make_network("sampling_network"), draw_observations(VECTOR, 1, 3)
    noise = np.random.default_rng(3).standard_normal((3, 3), dtype=np.float32)
    with torch.no_grad():
        expected = network(torch.from_numpy(observations["state"]), torch.from_numpy(noise)).numpy()
        network.network.head.weight.zero_()
        alone = network(torch.from_numpy(observations["state"]), torch.from_numpy(noise)).numpy()
    np.testing.assert_allclose(alone, np.tanh(noise[:, :2]), atol=1e-6)
    network = make_network("sampling_network")
    random = np.random.default_rng(3)
    found = [network.act(observations.rows(row), random) for row in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_noise_shorter_than_the_action_is_refused():
    config = POLICY_KINDS.find("sampling_network").parse(
        {"trunk": MLP, "normalised_terms": [], "noise_dim": 1}
    )
    with pytest.raises(ConfigError, match=r"algorithm\.noise_dim: expected at least 2"):
        make_policy(config, VECTOR, "sql")


def test_acting_with_a_generator_draws_one_number_an_action():
    network, observations = make_network(), draw_observations(VECTOR, 1, 3)
    noise = np.random.default_rng(3).standard_normal((3, 2), dtype=np.float32)
    with torch.no_grad():
        expected = network.sample(network.inputs.of(observations), torch.from_numpy(noise)).actions.numpy()
    random = np.random.default_rng(3)
    found = [network.act(observations.rows(row), random) for row in range(3)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_acting_follows_updates_made_in_place():
    network, observation = make_network(), draw_observations(VECTOR, 1, 1).rows(0)
    before = network.act(observation, None)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(0.0)
    assert not np.array_equal(before, np.zeros(2))
    np.testing.assert_array_equal(network.act(observation, None), np.zeros(2, dtype=np.float32))


def test_log_std_is_bounded():
    network = make_network()
    with torch.no_grad():
        network.network.head.bias.fill_(1000.0)
    assert network.distribution(network.inputs.of(draw_observations(VECTOR, 0, 1)))[1].max().item() == 2.0


def test_a_trunk_by_import_path_is_refused_before_it_is_imported():
    tree = {"trunk": {"name": "no_such_module:Trunk"}, "log_std_bounds": [-2.0, 2.0], "normalised_terms": []}
    with pytest.raises(
        ConfigError, match=r"trunk\.name: expected a registered trunk, because a policy file names"
    ):
        SquashedGaussianConfig.parse(tree)
