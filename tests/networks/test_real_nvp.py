"""Real NVP policies: the flow and its inverse, densities by other ways, two levels, the graph."""

import math

import numpy as np
import pytest
import torch
from bundle_factories import make_spec
from test_policies import draw_last_layers

from sacpipe.core.errors import ConfigError
from sacpipe.export.bundle import check_export
from sacpipe.export.config import ExportConfig
from sacpipe.networks.policies.hierarchy import HierarchyConfig
from sacpipe.networks.policies.real_nvp import RealNVPConfig
from sacpipe.testing.learner_tasks import draw_observations

KEYS = {
    "trunk": {"name": "mlp", "hidden_dims": [8]},
    "num_couplings": 3,
    "coupling_dim": 8,
    "max_log_scale": 1.0,
    "normalised_terms": [],
}
EXPORT = ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=5)


def spec_of(dim):
    return make_spec(3, [(-1.0, 1.0)] * dim)


def make_policy(dim, *, levels=1, is_new=False, seed=0, **keys):
    tree = KEYS | keys
    config = (
        RealNVPConfig.parse(tree) if levels == 1 else HierarchyConfig.parse({"upper": tree, "lower": tree})
    )
    policy, random = config.build(spec_of(dim)), torch.Generator().manual_seed(seed)
    policy.reset(random)
    if not is_new:
        draw_last_layers(policy, random)
    return policy


def inputs_of(policy, dim, count=16):
    return policy.inputs.of(draw_observations(spec_of(dim), 2, count))


SHAPES = [(1, 1), (2, 1), (3, 1), (5, 1), (1, 2), (3, 2)]


@pytest.mark.parametrize(("dim", "levels"), SHAPES)
def test_the_inverse_of_the_flow_is_the_latent(dim, levels):
    policy = make_policy(dim, levels=levels).double()
    inputs, latents = inputs_of(policy, dim), torch.randn(16, dim, dtype=torch.float64)
    inputs = inputs._replace(vector=inputs.vector.double())
    there = policy.flow(inputs, latents)
    back = policy.inverse(inputs, there.values)
    assert not torch.allclose(there.values, latents, atol=0.05)
    torch.testing.assert_close(back.values, latents)
    torch.testing.assert_close(back.log_scales, there.log_scales)


@pytest.mark.parametrize(("dim", "levels"), SHAPES)
def test_the_log_scales_are_the_determinant_that_autograd_finds(dim, levels):
    policy = make_policy(dim, levels=levels)
    inputs, latents = inputs_of(policy, dim, 4), torch.randn(4, dim)
    found = policy.flow(inputs, latents).log_scales.sum(dim=-1)
    for row in range(4):
        one = inputs._replace(vector=inputs.vector[row : row + 1])
        jacobian = torch.autograd.functional.jacobian(
            lambda latent, one=one: policy.flow(one, latent[None]).values[0], latents[row]
        )
        assert found[row].item() == pytest.approx(jacobian.det().abs().log().item(), abs=1e-4)


@pytest.mark.parametrize("levels", [1, 2])
def test_the_density_of_a_draw_is_that_of_its_action(levels):
    policy = make_policy(3, levels=levels)
    inputs = inputs_of(policy, 3, 256)
    draw = policy.sample(inputs, 0.7 * torch.randn(256, 3, generator=torch.Generator().manual_seed(0)))
    inside = draw.actions.abs().amax(dim=-1) < 0.99  # beyond, atanh of a float32 is a coarse number
    assert inside.sum() > 100
    found = policy.log_densities(inputs, draw.actions)
    torch.testing.assert_close(found[inside], draw.log_probs[inside], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("levels", [1, 2])
def test_the_density_of_one_action_integrates_to_one(levels):
    """Midpoints over the actions themselves."""
    policy, count = make_policy(1, levels=levels), 20_000
    actions = (torch.arange(count) + 0.5) / count * 2.0 - 1.0
    inputs = inputs_of(policy, 1, 1)
    inputs = inputs._replace(vector=inputs.vector.expand(count, -1))
    density = policy.log_densities(inputs, actions[:, None]).double().exp()
    assert density.mean().item() * 2.0 == pytest.approx(1.0, abs=2e-3)


def test_the_density_of_two_actions_integrates_to_one():
    policy, count = make_policy(2), 400
    line = (torch.arange(count) + 0.5) / count * 2.0 - 1.0
    actions = torch.cartesian_prod(line, line)
    inputs = inputs_of(policy, 2, 1)
    inputs = inputs._replace(vector=inputs.vector.expand(count**2, -1))
    density = policy.log_densities(inputs, actions).double().exp()
    assert density.mean().item() * 4.0 == pytest.approx(1.0, abs=1e-2)


def test_a_new_policy_squashes_its_latent():
    """A new coupling changes nothing, so the density is that of tanh(z), z ~ N(0, I)."""
    policy = make_policy(2, is_new=True)
    latents = torch.tensor([[0.0, 0.0], [1.0, -2.0]])
    draw = policy.sample(inputs_of(policy, 2, 2), latents)
    torch.testing.assert_close(draw.actions, torch.tanh(latents))
    assert draw.log_probs[0].item() == pytest.approx(-math.log(2.0 * math.pi))


def test_log_scales_are_bounded():
    policy = make_policy(2, max_log_scale=0.5)
    with torch.no_grad():
        for coupling in policy.couplings:
            coupling.output.bias.fill_(1e3)
    found = policy.flow(inputs_of(policy, 2), torch.randn(16, 2)).log_scales
    assert found.max().item() == pytest.approx(1.0)  # the second half is changed twice


def test_an_action_of_one_dimension_has_one_affine_map():
    policy = make_policy(1)
    inputs = inputs_of(policy, 1)
    values = [policy.flow(inputs, torch.full((16, 1), z)).values for z in (0.0, 1.0, 2.0)]
    torch.testing.assert_close(values[2] - values[1], values[1] - values[0])
    assert values[0].std() > 0.01  # a function of the observation
    assert len(policy.couplings) == 1


def test_acting_is_the_latent_that_a_generator_draws_or_zero():
    policy = make_policy(3)
    observations = draw_observations(spec_of(3), 2, 4)
    latents = np.random.default_rng(3).standard_normal((4, 3), dtype=np.float32)
    with torch.no_grad():
        drawn = policy.sample(policy.inputs.of(observations), torch.from_numpy(latents)).actions.numpy()
        certain = policy(torch.from_numpy(observations["state"])).numpy()
    random = np.random.default_rng(3)
    found = [policy.act(observations.rows(row), random) for row in range(4)]
    np.testing.assert_allclose(found, drawn, atol=1e-6)
    found = [policy.act(observations.rows(row), None) for row in range(4)]
    np.testing.assert_allclose(found, certain, atol=1e-6)


def test_a_hierarchy_with_a_new_upper_level_acts_as_the_lower_one():
    lower, policy = make_policy(3), make_policy(3, levels=2, is_new=True)
    policy.lower.load_state_dict(lower.state_dict())
    inputs, latents = inputs_of(policy, 3), torch.randn(16, 3)
    torch.testing.assert_close(policy.sample(inputs, latents), lower.sample(inputs, latents))
    assert not any(parameter.requires_grad for parameter in policy.lower.parameters())


@pytest.mark.parametrize(("dim", "levels"), SHAPES)
def test_the_graph_has_the_action_of_the_latent_zero(dim, levels):
    check_export(make_policy(dim, levels=levels).eval(), spec_of(dim), EXPORT)


def test_one_coupling_would_leave_a_half_as_it_is():
    with pytest.raises(ConfigError, match="num_couplings"):
        RealNVPConfig.parse(KEYS | {"num_couplings": 1})
