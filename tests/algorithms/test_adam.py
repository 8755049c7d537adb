"""Adam is PyTorch's; its learning rate is a function of gradient steps."""

import pytest
import torch

from sacpipe.algorithms.adam import Adam, AdamConfig
from sacpipe.core.errors import ConfigError


def make_config(**changes):
    return AdamConfig.parse(AdamConfig.preset(None, None) | changes)


@pytest.mark.slow
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_adam_is_pytorchs(weight_decay):
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(3, 2, generator=generator), torch.randn((), generator=generator)]
    theirs = [torch.nn.Parameter(tensor.clone()) for tensor in ours]
    adam = Adam(ours, make_config(epsilon=1e-7, betas=[0.5, 0.99], weight_decay=weight_decay), 0.1)
    kind = torch.optim.AdamW if weight_decay else torch.optim.Adam
    reference = kind(theirs, lr=0.1, eps=1e-7, betas=(0.5, 0.99), weight_decay=weight_decay)
    for step in range(20):
        gradients = [torch.randn(tensor.shape, generator=generator) for tensor in ours]
        adam.step(gradients, step)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        reference.step()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its.detach(), rtol=1e-6, atol=1e-6)


def test_a_linear_schedule_by_hand():
    """From 1 to 0.2 in 4 steps: 1, 0.8, 0.6, 0.4, and 0.2 from then on."""
    schedule = make_config(schedule={"name": "linear", "final": 0.2, "steps": 4}).schedule
    assert [schedule.factor(step) for step in range(6)] == pytest.approx([1.0, 0.8, 0.6, 0.4, 0.2, 0.2])


def test_the_first_step_is_the_learning_rate_of_the_schedule():
    """Adam's first step is the learning rate against the sign of the gradient, if epsilon is nothing beside it."""
    config = make_config(schedule={"name": "linear", "final": 0.0, "steps": 10})
    for step, expected in ((0, -0.1), (5, -0.05), (30, 0.0)):
        parameter = torch.zeros(1)
        Adam([parameter], config, 0.1).step([torch.tensor([3.0])], step)
        assert parameter.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"betas": [0.9, 1.0]}, "betas.1: Input should be less than 1"),
        ({"weight_decay": -1.0}, "weight_decay: Input should be greater than or equal to 0"),
        ({"schedule": {"name": "cosine"}}, "schedule: .*'constant', 'linear'"),
        ({"schedule": {"name": "linear", "final": 0.1}}, "schedule.linear.steps: missing"),
    ],
)
def test_wrong_values_name_their_key_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_config(**changes)
