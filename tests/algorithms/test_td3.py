"""What is TD3's own, against numbers worked out on paper; the rules of every learner are in test_learners.py."""

import itertools

import numpy as np
import pytest
import torch
from learning import SPEC, make_batch, make_learner

from sacpipe.specs.observation import Observation

NAME = "network.trunk.mlp.layers.0.weight"


def test_policy_and_targets_move_at_every_delayed_step_only():
    learner = make_learner("td3", policy_delay=3)
    states = [learner.state()]
    for step in range(3):
        learner.update(make_batch(step))
        states.append(learner.state())
    for name in (f"actor/{NAME}", f"target_critic/{NAME}", "target_actor/trunk.mlp.layers.0.weight"):
        same = [np.array_equal(before[name], after[name]) for before, after in itertools.pairwise(states)]
        assert same == [True, True, False], name
    assert not np.array_equal(states[0][f"critic/{NAME}"], states[1][f"critic/{NAME}"])


def test_targets_by_hand():
    """With zero weights and biases b: pi' = tanh(0) and Q' = b; y = r + discount min(b) = r + discount x (-2)."""
    learner, batch = make_learner("td3"), make_batch()
    with torch.no_grad():
        for parameter in (*learner.target_actor.parameters(), *learner.target_critic.parameters()):
            parameter.zero_()
        learner.target_critic.network.head.bias[:] = torch.tensor([3.0, -2.0])[:, None, None]
    np.testing.assert_allclose(
        learner._targets(batch).numpy(), batch.rewards - 2.0 * batch.discounts, rtol=1e-6
    )


@pytest.mark.parametrize(("noise", "clip", "largest"), [(0.0, 0.5, 0.0), (0.2, 0.1, 0.1), (10.0, 0.5, 0.5)])
def test_the_targets_action_has_clipped_noise(noise, clip, largest):
    """With zero weights the action is the noise alone; a critic that returns its first action entry shows it."""
    learner = make_learner(
        "td3", target_noise=noise, target_noise_clip=clip, network={"name": "mlp", "hidden_dims": []}
    )
    with torch.no_grad():
        for parameter in (*learner.target_actor.parameters(), *learner.target_critic.parameters()):
            parameter.zero_()
        learner.target_critic.network.head.weight[:, 3, 0] = 1.0
    batch = make_batch(size=200)
    batch.rewards[:], batch.discounts[:] = 0.0, 1.0
    found = np.abs(learner._targets(batch).numpy())
    assert found.max() == pytest.approx(largest)


def test_exploration_adds_clipped_noise():
    learner = make_learner("td3", exploration_noise=0.1)
    observation = Observation(SPEC.layout, np.ones(3, dtype=np.float32), {})
    mean = learner.act(observation, None)
    noise = np.random.default_rng(4).standard_normal(2, dtype=np.float32)
    found = learner.act(observation, np.random.default_rng(4))
    np.testing.assert_allclose(found, np.clip(mean + np.float32(0.1) * noise, -1.0, 1.0), rtol=1e-6)
    loud = make_learner("td3", exploration_noise=100.0)
    assert np.abs(loud.act(observation, np.random.default_rng(4))).max() == 1.0


def test_the_policy_climbs_the_first_critic():
    """The critic's value is its first action entry: each step raises it, and leaves the other alone."""
    learner = make_learner("td3", policy_delay=1, network={"name": "mlp", "hidden_dims": []})
    batch = make_batch()
    with torch.no_grad():
        learner.critic.network.head.weight.zero_()
        learner.critic.network.head.weight[0, 3, 0] = 1.0
        learner.critic.network.head.weight[1, 4, 0] = 1.0
    observations = torch.from_numpy(batch.observations["state"])
    before = learner.actor(observations).detach()
    learner._step_policy(batch)
    after = learner.actor(observations).detach()
    assert (after[:, 0] - before[:, 0]).mean() > 0
    torch.testing.assert_close(after[:, 1], before[:, 1])
