"""Losses against numbers worked out on paper."""

import pytest
import torch

from sacpipe.algorithms.losses import actor_loss, critic_loss, soft_td_target, temperature_loss


def tensor(*values):
    return torch.tensor(values)


def test_target_bootstraps_from_the_lower_critic_and_adds_entropy():
    """r=1, discount 0.5, temperature 0.2, Q=(3, 4), log pi=-1: 1 + 0.5 (3 + 0.2) = 2.6."""
    target = soft_td_target(tensor(1.0), tensor(0.5), tensor([3.0], [4.0]), tensor(-1.0), temperature=0.2)
    assert target.tolist() == pytest.approx([2.6])


def test_terminated_transition_has_no_future():
    """r=2, terminated: 2, whatever the critics say."""
    target = soft_td_target(tensor(2.0), tensor(0.0), tensor([3.0], [4.0]), tensor(-1.0), temperature=0.2)
    assert target.tolist() == [2.0]


def test_target_has_no_gradient():
    next_q_values = tensor([3.0], [4.0]).requires_grad_()
    target = soft_td_target(tensor(1.0), tensor(0.5), next_q_values, tensor(-1.0), temperature=0.2)
    assert not target.requires_grad


def test_scaling_rewards_and_values_scales_the_target_at_zero_temperature():
    rewards, next_q_values, log_probs = torch.randn(8), torch.randn(2, 8), torch.randn(8)
    whole = soft_td_target(rewards, torch.full((8,), 0.9), next_q_values, log_probs, temperature=0.0)
    triple = soft_td_target(3 * rewards, torch.full((8,), 0.9), 3 * next_q_values, log_probs, temperature=0.0)
    torch.testing.assert_close(triple, 3 * whole)


def test_critic_loss_by_hand():
    """Critic 1 errs by (1, 3), critic 2 by (0, 2): 0.5 (1+9)/2 + 0.5 (0+4)/2 = 2.5 + 1 = 3.5."""
    loss = critic_loss(tensor([2.0, 5.0], [1.0, 4.0]), tensor(1.0, 2.0))
    assert loss.item() == pytest.approx(3.5)


def test_a_weighted_critic_loss_by_hand():
    """The errors above, the second row a quarter: 0.5 (1+9/4)/2 + 0.5 (0+4/4)/2 = 0.8125 + 0.25."""
    loss = critic_loss(tensor([2.0, 5.0], [1.0, 4.0]), tensor(1.0, 2.0), tensor(1.0, 0.25))
    assert loss.item() == pytest.approx(1.0625)


def test_actor_loss_by_hand():
    """log pi=(-1, 2), temperature 0.5, Q1=(1, 4), Q2=(3, 2).

    min: ((-0.5 - 1) + (1 - 2)) / 2 = -1.25;  mean: ((-0.5 - 2) + (1 - 3)) / 2 = -2.25.
    """
    log_probs, q_values = tensor(-1.0, 2.0), tensor([1.0, 4.0], [3.0, 2.0])
    assert actor_loss(log_probs, q_values, temperature=0.5, actor_q="min").item() == pytest.approx(-1.25)
    assert actor_loss(log_probs, q_values, temperature=0.5, actor_q="mean").item() == pytest.approx(-2.25)


def test_temperature_loss_by_hand():
    """log pi=(1, 3), target entropy -1: gap = 2 - 1 = 1. At log alpha = log 2: -log 2, or -2; slopes -1 and -2."""
    for objective, value, slope in (("log_temperature", -0.6931472, -1.0), ("temperature", -2.0, -2.0)):
        log_temperature = torch.tensor(0.6931471805599453, requires_grad=True)
        loss = temperature_loss(log_temperature, tensor(1.0, 3.0), target_entropy=-1.0, objective=objective)
        loss.backward()
        assert loss.item() == pytest.approx(value, rel=1e-6)
        assert log_temperature.grad.item() == pytest.approx(slope, rel=1e-6)


def test_temperature_rises_when_entropy_is_below_its_target():
    log_temperature = torch.tensor(0.0, requires_grad=True)
    temperature_loss(
        log_temperature, tensor(5.0), target_entropy=-1.0, objective="log_temperature"
    ).backward()
    assert log_temperature.grad.item() < 0  # descent raises it
