"""The squashed Gaussian's density, held against numerical integration and against its two forward paths."""

import math

import numpy as np
import pytest
import torch

from sacpipe.networks.actor import SquashedGaussianActor, squashed_log_density
from sacpipe.networks.normaliser import Normaliser


def make_actor(observation_dim=3, action_dim=2, *, normalised=False):
    normaliser = Normaliser(observation_dim) if normalised else None
    actor = SquashedGaussianActor(
        observation_dim, action_dim, (8, 8), log_std_bounds=(-20.0, 2.0), normaliser=normaliser
    )
    actor.network.reset(torch.Generator().manual_seed(0))
    return actor


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


@pytest.mark.parametrize("normalised", [False, True])
def test_acting_alone_agrees_with_the_batched_path(normalised):
    actor = make_actor(normalised=normalised)
    rng = np.random.default_rng(1)
    observations = rng.standard_normal((64, 3), dtype=np.float32) * 3
    noise = rng.standard_normal((64, 2), dtype=np.float32)
    if normalised:
        for observation in observations:
            actor.normaliser.observe(observation)
    with torch.no_grad():
        sampled = actor.sample(torch.from_numpy(observations), torch.from_numpy(noise))[0].numpy()
        mean = actor(torch.from_numpy(observations)).numpy()
    np.testing.assert_allclose(
        [actor.act(o, n) for o, n in zip(observations, noise, strict=True)], sampled, atol=1e-5
    )
    np.testing.assert_allclose([actor.act(o, None) for o in observations], mean, atol=1e-5)


def test_acting_follows_updates_made_in_place():
    actor = make_actor()
    observation = np.ones(3, dtype=np.float32)
    before = actor.act(observation, None)
    with torch.no_grad():
        for parameter in actor.parameters():
            parameter.mul_(0.0)
    assert not np.array_equal(before, np.zeros(2))
    np.testing.assert_array_equal(actor.act(observation, None), np.zeros(2, dtype=np.float32))


def test_log_std_is_bounded():
    actor = make_actor()
    with torch.no_grad():
        actor.network.layers[-1].bias.fill_(1000.0)
    assert actor.distribution(torch.zeros(1, 3))[1].max().item() == 2.0


def test_normaliser_agrees_with_numpy():
    values = np.random.default_rng(2).normal(5.0, 3.0, (500, 4)).astype(np.float32)
    normaliser = Normaliser(4)
    for value in values:
        normaliser.observe(value)
    expected = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(normaliser(torch.from_numpy(values)).numpy(), expected, atol=1e-4)


def test_fresh_normaliser_is_the_identity_and_a_constant_entry_stays_finite():
    normaliser = Normaliser(2)
    values = torch.tensor([[1.0, -2.0]])
    torch.testing.assert_close(normaliser(values), values)
    for _ in range(3):
        normaliser.observe(np.array([7.0, 7.0], dtype=np.float32))
    assert torch.isfinite(normaliser(torch.tensor([[7.0, 7.1]]))).all()
