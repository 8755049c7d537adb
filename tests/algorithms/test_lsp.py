"""What is the latent-space policies' own: smoothed exploration, and a lower level that stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from factories import make_spec
from learning import SPEC, make_batch, make_learner

from sacpipe.algorithms import ALGORITHMS
from sacpipe.algorithms.base import Weights
from sacpipe.core.errors import ConfigError
from sacpipe.networks.policies.reparameterised import squashed_log_density
from sacpipe.specs.observation import Observation
from sacpipe.testing.learners import check_learner

LOWER = {"lower": {"sha256": "a" * 64}}
KEY = "algorithm.lower.sha256"
OBSERVATION = Observation(SPEC.layout, np.ones(3, dtype=np.float32), {})


def weights_of(learner):
    return Weights(learner.policy().header, learner.state(), is_whole=True)


def test_latents_of_an_episode_are_smoothed():
    """h' = 0.6 h + 0.8 z; the first of an episode is z, and so is the first after its end."""
    learner, random = make_learner("lsp", smoothing=0.6), np.random.default_rng(1)
    drawn = np.random.default_rng(1).standard_normal((4, 2), dtype=np.float32)
    expected = [drawn[0], 0.6 * drawn[0] + 0.8 * drawn[1]]
    expected.append(0.6 * expected[1] + 0.8 * drawn[2])
    for latent in expected:
        found = learner.explore(OBSERVATION, random)
        np.testing.assert_allclose(found, learner.actor.act_of_latent(OBSERVATION, latent), atol=1e-6)
    learner.end_episode()
    found = learner.explore(OBSERVATION, random)
    np.testing.assert_allclose(found, learner.actor.act_of_latent(OBSERVATION, drawn[3]), atol=1e-6)


@pytest.mark.slow
def test_smoothed_latents_are_standard_normal_and_correlated():
    learner, random = make_learner("lsp", smoothing=0.9), np.random.default_rng(1)
    latents = np.array(
        [np.arctanh(learner.explore(OBSERVATION, random).astype(np.float64)) for _ in range(6000)]
    )
    assert latents.std() == pytest.approx(1.0, abs=0.15)
    correlation = (latents[1:] * latents[:-1]).mean() / latents.var()
    assert correlation == pytest.approx(0.9, abs=0.05)


def test_without_smoothing_exploring_is_acting():
    """So such a learner remembers no episode, and several environments may have it."""
    assert not hasattr(make_learner("lsp"), "explore")


def test_the_first_action_of_an_episode_is_the_policys():
    learner = make_learner("lsp", smoothing=0.9)
    found = learner.explore(OBSERVATION, np.random.default_rng(1))
    np.testing.assert_array_equal(found, learner.act(OBSERVATION, np.random.default_rng(1)))


@pytest.mark.slow
def test_a_smoothed_learner_keeps_the_contract():
    check_learner(ALGORITHMS.find("lsp").example().replace(smoothing=0.5))


def test_the_latent_of_the_episode_is_a_part_of_the_state():
    learner, other = make_learner("lsp", smoothing=0.9), make_learner("lsp", smoothing=0.9)
    learner.explore(OBSERVATION, np.random.default_rng(1))
    other.load_state(learner.state())
    found = [one.explore(OBSERVATION, np.random.default_rng(2)) for one in (learner, other)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(("smoothing", "own"), [(0.0, 0.9), (0.9, 0.0), (0.9, 0.9)])
def test_a_learner_begins_with_another_ones_weights_and_its_own_episode(smoothing, own):
    other, learner = make_learner("lsp", seed=1, smoothing=smoothing), make_learner("lsp", smoothing=own)
    if smoothing:
        other.explore(OBSERVATION, np.random.default_rng(1))
    other.update(make_batch(0))
    learner.begin_with(other.state())
    np.testing.assert_array_equal(learner.act(OBSERVATION, None), other.act(OBSERVATION, None))
    assert not learner.state().get("exploration_latent", np.zeros(2)).any()


def test_updates_leave_the_lower_level_as_it_is():
    lower = make_learner("lsp", seed=1)
    for seed in range(20):
        lower.update(make_batch(seed))
    learner = make_learner("lsp", **LOWER)
    learner.take_weights(KEY, weights_of(lower))
    np.testing.assert_allclose(learner.act(OBSERVATION, None), lower.act(OBSERVATION, None), atol=1e-6)
    before = learner.state()
    for seed in range(3):
        learner.update(make_batch(seed))
    after = learner.state()
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert not any(name.startswith("actor/lower.") for name in changed)
    assert "actor/couplings.0.output.weight" in changed
    own = {f"actor/lower.{name}": tensor for name, tensor in lower.actor.state_dict().items()}
    for name, tensor in own.items():
        np.testing.assert_array_equal(after[name], tensor.numpy())


@pytest.mark.parametrize(
    "other", [{"name": "sac"}, {"name": "lsp", "num_couplings": 3}, {"name": "lsp", **LOWER}]
)
def test_a_lower_level_of_another_kind_or_shape_is_refused(other):
    with pytest.raises(
        ConfigError, match=r"algorithm\.lower\.sha256: expected a policy of the kind 'real_nvp'"
    ):
        make_learner("lsp", **LOWER).take_weights(KEY, weights_of(make_learner(**other)))


def test_with_one_action_the_policy_is_the_gaussian_of_sac():
    """Its affine map of a normal latent: the density is that of SAC's policy of the same mean and deviation."""
    spec = make_spec(3, [(-1.0, 1.0)])
    learner = make_learner("lsp", spec=spec)
    for seed in range(5):
        learner.update(make_line_batch(seed, spec))
    inputs = learner.actor.inputs.of(make_line_batch(9, spec).observations)
    noise = torch.randn(16, 1, generator=torch.Generator().manual_seed(0))
    mean = learner.actor.flow(inputs, None).values
    std = learner.actor.flow(inputs, torch.ones(16, 1)).values - mean
    draw = learner.actor.sample(inputs, noise)
    torch.testing.assert_close(draw.actions, torch.tanh(mean + std * noise))
    expected = squashed_log_density(noise, std.log(), mean + std * noise)
    torch.testing.assert_close(draw.log_probs, expected)
    assert mean.std() > 0.0


def make_line_batch(seed, spec):
    batch = make_batch(seed, spec=spec)
    return replace(batch, actions=np.ascontiguousarray(batch.actions[:, :1]))
