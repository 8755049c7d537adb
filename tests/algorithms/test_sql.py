"""What is Soft Q-learning's own; the rules of every learner are in test_learners.py."""

import itertools
import math

import numpy as np
import pytest
import torch
from factories import make_algorithm
from learning import SPEC, make_batch, make_learner, make_spec

from sacpipe.algorithms import stein_policy
from sacpipe.algorithms.sql import SQLConfig
from sacpipe.core.errors import ConfigError
from sacpipe.specs.budget import Budget
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch

LOG_TWO = math.log(2.0)
LINE = make_spec(1, [(-1.0, 1.0)])


class Known(torch.nn.Module):
    """Critics whose values are a known function of the action, in nats."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, _inputs, actions):
        return self.function(actions)[None]


def constant(actions):
    return 0.0 * actions.sum(dim=-1)


def two_modes(actions):
    """Normal densities of deviation 0.15 around -0.7 and 0.7, of the same weight."""
    modes = [-0.5 * ((actions[:, 0] - centre) / 0.15).square() for centre in (-0.7, 0.7)]
    return torch.logsumexp(torch.stack(modes), dim=0)


def learned_actions(critic, *, seed=0, steps=400, num_particles=64):
    """Train a policy of one action for a critic, and draw 5,000 actions."""
    schedule = {"name": "linear", "final": 0.05, "steps": steps}
    learner = make_algorithm(
        "sql",
        num_particles=num_particles,
        noise_dim=1,
        actor_learning_rate=5e-3,
        adam={"betas": (0.9, 0.999), "epsilon": 1e-8, "weight_decay": 0.0, "schedule": schedule},
        network={"name": "mlp", "hidden_dims": [32, 32]},
    ).build(LINE, seed)
    learner.critic = Known(critic)
    states = Observation(LINE.layout, np.ones((2, 1), dtype=np.float32), {})
    zeros = np.zeros(2, dtype=np.float32)
    batch = Batch(states, zeros[:, None], zeros, states, zeros)
    random = np.random.default_rng(seed)
    for step in range(steps):
        learner.gradient_steps = step
        noise = random.standard_normal((2 * num_particles, 1), dtype=np.float32)
        learner._step_policy(batch, torch.from_numpy(noise))
    with torch.no_grad():
        noise = torch.from_numpy(random.standard_normal((5000, 1), dtype=np.float32))
        return learner.actor(torch.ones(5000, 1), noise).numpy()[:, 0]


def upstreams_score(actions, q_gradients):
    """d/da of Q + log(1 - a^2), Softlearning's."""
    return q_gradients - 2.0 * actions / (1.0 - actions.square() + 1e-6)


def direction_of_actions(fixed, scores, updated, min_bandwidth):
    """Softlearning's: the kernel of actions, and through tanh to the network."""
    actions = torch.tanh(updated)
    direction, bandwidths = DIRECTION(torch.tanh(fixed), scores, actions, min_bandwidth)
    return (1.0 - actions.square()) * direction, bandwidths


DIRECTION = stein_policy.stein_direction


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_with_a_constant_value_the_policy_becomes_uniform(seed):
    """The uniform distribution on [-1, 1] has a variance of 1/3, and a tenth of it beyond 0.9."""
    actions = learned_actions(constant, seed=seed)
    assert actions.var() == pytest.approx(1.0 / 3.0, abs=0.03)
    assert (np.abs(actions) > 0.9).mean() == pytest.approx(0.1, abs=0.03)


@pytest.mark.slow
def test_softlearnings_gradient_gives_another_distribution(monkeypatch):
    """Its density is 3/4 (1 - a^2), of variance 0.2: the test above finds the fault."""
    monkeypatch.setattr(stein_policy, "score_before_tanh", upstreams_score)
    monkeypatch.setattr(stein_policy, "stein_direction", direction_of_actions)
    assert learned_actions(constant).var() == pytest.approx(0.2, abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_two_equal_modes_each_get_a_share(seed):
    actions = learned_actions(two_modes, seed=seed)
    for share in ((actions < -0.3).mean(), (actions > 0.3).mean()):
        assert 0.3 <= share <= 0.7


def test_targets_by_hand():
    """With zero weights the target critics are 3 and -2: V = -2 + 2 log 2, y = scale r + discount V."""
    learner, batch = make_learner("sql", reward_scale=5.0), make_batch()
    with torch.no_grad():
        for parameter in learner.target_critic.parameters():
            parameter.zero_()
        learner.target_critic.network.head.bias[:] = torch.tensor([3.0, -2.0])[:, None, None]
    values = learner._next_values(batch, torch.zeros(4, 16, 2))
    np.testing.assert_allclose(values.numpy(), np.full(16, -2.0 + 2.0 * LOG_TWO), rtol=1e-6)
    expected = 5.0 * batch.rewards + batch.discounts * np.float32(-2.0 + 2.0 * LOG_TWO)
    np.testing.assert_allclose(learner._targets(batch, values).numpy(), expected, rtol=1e-6)


def test_the_soft_value_takes_each_observations_own_actions():
    """A target critic that returns its first action entry: V = log mean exp(a) + 2 log 2, by observation."""
    learner = make_learner("sql", network={"name": "mlp", "hidden_dims": []})
    with torch.no_grad():
        for parameter in learner.target_critic.parameters():
            parameter.zero_()
        learner.target_critic.network.head.weight[:, 3, 0] = 1.0
    actions = torch.rand(4, 16, 2, generator=torch.Generator().manual_seed(1))
    found = learner._next_values(make_batch(), actions)
    torch.testing.assert_close(found, actions[..., 0].exp().mean(dim=0).log() + 2.0 * LOG_TWO)


@pytest.mark.parametrize(("tau", "interval"), [(1.0, 3), (0.25, 3)])
def test_targets_move_at_their_interval_by_their_weight(tau, interval):
    name = "network.trunk.mlp.layers.0.weight"
    learner = make_learner("sql", tau=tau, target_update_interval=interval)
    states = [learner.state()]
    for step in range(3):
        learner.update(make_batch(step))
        states.append(learner.state())
    slow = [state[f"target_critic/{name}"] for state in states]
    assert [np.array_equal(a, b) for a, b in itertools.pairwise(slow)] == [True, True, False]
    expected = slow[0] + np.float32(tau) * (states[3][f"critic/{name}"] - slow[0])
    np.testing.assert_allclose(slow[3], expected, atol=1e-7)


def test_the_policy_climbs_the_lowest_critic():
    """The values are 40 a0 and 40 a0 + 1: a policy that is steep in nats goes to the end of the range."""
    learner, batch = make_learner("sql", actor_learning_rate=1e-2), make_batch()
    learner.critic = Known(lambda actions: torch.stack([40.0 * actions[:, 0], 40.0 * actions[:, 0] + 1.0]))
    learner.critic.forward = lambda _inputs, actions: learner.critic.function(actions)
    random = np.random.default_rng(0)
    for step in range(150):
        learner.gradient_steps = step
        noise = random.standard_normal((5 * 16, 3), dtype=np.float32)
        found = learner._step_policy(batch, torch.from_numpy(noise))
    assert found.actions[..., 0].mean() > 0.8
    np.testing.assert_allclose(found.q_values, 40.0 * found.actions[2:, :, 0], atol=1e-4, rtol=1e-5)


def test_values_and_metrics_are_in_units_of_reward():
    """Critics of 6 nats at a scale of 3 nats a unit of reward are a value of 2."""
    learner, batch = make_learner("sql", reward_scale=3.0), make_batch()
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.zero_()
        learner.critic.network.head.bias.fill_(6.0)
    observation = Observation(SPEC.layout, np.ones(3, dtype=np.float32), {})
    assert learner.value(observation, np.zeros(2, dtype=np.float32)) == pytest.approx(2.0)
    learner.update(batch)
    found = learner.diagnostics()
    assert found["critic/q_mean"] == pytest.approx(2.0)
    targets = learner._last.targets / 3.0
    assert found["critic/loss"] == pytest.approx(float(np.square(2.0 - targets).mean()), rel=1e-5)


def test_a_new_file_has_softlearnings_scale_of_the_task():
    cheetah = SPEC.replace(task="gymnasium/HalfCheetah-v5")
    assert SQLConfig.preset(cheetah, Budget(1000))["reward_scale"] == 30.0
    assert SQLConfig.preset(SPEC, Budget(1000))["reward_scale"] == 1.0
    hard = SQLConfig.preset(SPEC, Budget(1000, variant="paper"))
    assert (hard["tau"], hard["target_update_interval"], hard["num_critics"]) == (1.0, 1000, 1)


def test_the_kernel_needs_two_fixed_particles():
    with pytest.raises(ConfigError, match="expected 1 to num_particles - 2, found 9 of 10"):
        make_algorithm("sql", num_particles=10, updated_share=0.9)
