"""What is TQC's own, against numbers worked out on paper; the rules of every learner are in test_learners.py."""

import numpy as np
import pytest
import torch
from learning import SPEC, make_batch, make_learner

from sacpipe.algorithms.adam import Adam, AdamConfig
from sacpipe.algorithms.tqc import TQCConfig, quantile_huber_losses, truncated_mixture
from sacpipe.core.errors import ConfigError
from sacpipe.engines.torch_engine import TorchConfig
from sacpipe.specs.observation import Observation


def test_the_truncated_mixture_by_hand():
    """Two critics with the quantiles 1, 5, 3 and 4, 2, 9: without one each, the lowest four of six are left."""
    quantiles = torch.tensor([[[1.0, 5.0, 3.0], [0.0, 0.0, 0.0]], [[4.0, 2.0, 9.0], [-1.0, 7.0, 6.0]]])
    assert truncated_mixture(quantiles, 1).tolist() == [[1.0, 2.0, 3.0, 4.0], [-1.0, 0.0, 0.0, 0.0]]
    assert truncated_mixture(quantiles, 0)[0].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 9.0]


def test_the_quantile_huber_loss_by_hand():
    """Quantiles 0 and 2 at 1/4 and 3/4, targets 1 and -3.

    0 to 1: 1/4 x 1/2; 0 to -3: 3/4 x 5/2; 2 to 1: 1/4 x 1/2; 2 to -3: 1/4 x 9/2; the mean is 3.25 / 4. A second
    critic at 1 and 1: 0; 3/4 x 7/2; 0; 1/4 x 7/2; the mean is 3.5 / 4.
    """
    quantiles = torch.tensor([[[0.0, 2.0]], [[1.0, 1.0]]])
    found = quantile_huber_losses(quantiles, torch.tensor([[1.0, -3.0]]))
    assert found.flatten().tolist() == pytest.approx([0.8125, 0.875])


def test_its_gradient_by_hand():
    """Each error, at most 1, times its weight, over the four pairs: quantile 0 has -1/4 + 3/4, quantile 2 has 1/2."""
    quantiles = torch.tensor([[[0.0, 2.0]]], requires_grad=True)
    loss = quantile_huber_losses(quantiles, torch.tensor([[1.0, -3.0]])).sum()
    (gradient,) = torch.autograd.grad(loss, [quantiles])
    assert gradient[0, 0].tolist() == pytest.approx([0.5 / 4, 0.5 / 4])


def test_its_minimum_is_the_quantiles():
    """Of 100 numbers from 0 to 100, four quantiles are at 1/8, 3/8, 5/8 and 7/8."""
    targets = torch.linspace(0.0, 100.0, 100).unsqueeze(0)
    quantiles = torch.full((1, 1, 4), 50.0, requires_grad=True)
    adam = Adam([quantiles], AdamConfig.parse(AdamConfig.preset(None, None)), 2.0)
    for step in range(100):
        adam.step(torch.autograd.grad(quantile_huber_losses(quantiles, targets).sum(), [quantiles]), step)
    assert quantiles.flatten().tolist() == pytest.approx([12.5, 37.5, 62.5, 87.5], abs=1.5)


def make_small(**changes):
    return make_learner("tqc", num_critics=2, num_quantiles=3, dropped_quantiles=1, **changes)


def test_targets_by_hand():
    """Without weights, the target critics give their biases: 1, 2, 3 and 4 are left, 2.5 on average."""
    learner, batch = make_small(), make_batch()
    with torch.no_grad():
        for parameter in learner.target_critic.parameters():
            parameter.zero_()
        learner.target_critic.network.head.bias[:, 0] = torch.tensor([[1.0, 5.0, 3.0], [4.0, 2.0, 9.0]])
    noise = torch.zeros(16, SPEC.action_dim)
    with torch.no_grad():
        following = learner.actor.sample(learner.actor.inputs.of(batch.next_observations), noise)
    found = learner._regress(batch, following, torch.tensor(0.5)).targets
    expected = batch.rewards + batch.discounts * (2.5 - 0.5 * following.log_probs.numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_a_value_is_the_mean_of_a_critics_quantiles():
    learner = make_small()
    with torch.no_grad():
        for parameter in learner.critic.parameters():
            parameter.zero_()
        learner.critic.network.head.bias[:, 0] = torch.tensor([[1.0, 2.0, 6.0], [7.0, 8.0, 9.0]])
    observation = Observation(SPEC.layout, np.ones(3, dtype=np.float32), {})
    assert learner.value(observation, np.zeros(2, dtype=np.float32)) == pytest.approx(3.0)
    inputs = learner.critic_inputs.of(observation.rows(None))
    assert learner.critic(inputs, torch.zeros(1, 2)).flatten().tolist() == pytest.approx([3.0, 8.0])
    assert learner.critic.first(inputs, torch.zeros(1, 2)).tolist() == pytest.approx([3.0])


def test_diagnostics_are_of_the_quantile_loss():
    learner, clone, batch = make_small(), make_small(), make_batch()
    learner.update(batch)
    noise = torch.from_numpy(clone.draw_noise(16))
    with torch.no_grad():
        following = clone.actor.sample(clone.actor.inputs.of(batch.next_observations), noise[0])
    regression = clone._regress(batch, following, torch.tensor(1.0))
    found = learner.diagnostics()
    assert found["critic/loss"] == pytest.approx(regression.loss.item(), rel=1e-6)
    assert found["critic/0/loss"] + found["critic/1/loss"] == pytest.approx(found["critic/loss"])
    assert found["critic/target_mean"] == pytest.approx(regression.targets.mean().item(), rel=1e-5)


def test_dropping_every_quantile_is_refused():
    tree = TQCConfig.example().as_tree() | {"num_quantiles": 3, "dropped_quantiles": 3}
    with pytest.raises(ConfigError, match="dropped_quantiles must be below num_quantiles, found 3 and 3"):
        TQCConfig.parse(tree, where="algorithm")


def test_the_engine_without_an_update_for_it_refuses_it_by_name():
    engine, config = TorchConfig.parse(TorchConfig.preset(None, None)), TQCConfig.example()
    assert not TorchConfig.suits(config)
    with pytest.raises(ConfigError, match=r"engine\.name: .* TQC"):
        engine.attach(config.build(SPEC, 0))
