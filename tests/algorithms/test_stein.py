"""The estimates of Soft Q-learning against numbers worked out on paper."""

import math

import numpy as np
import pytest
import torch

from sacpipe.algorithms.stein import score_before_tanh, soft_value, stein_direction

LOG_TWO = math.log(2.0)


def particles(*values):
    """Particles of one observation with one action dimension. Shape (N, 1, 1)."""
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def test_two_fixed_particles_by_hand():
    """Squared distances of 0 and 2 to 1 and 3 are 1, 9, 1, 1; the median 1 gives h = 1 / log 2.

    So k is 1/2 at a distance of 1 and 2^-9 at 3. At u = 1, with the scores 1 and -3:
    (1/2 + 1/2 x 2 log 2 - 3/2 - 1/2 x 2 log 2) / 2 = -1/2. At u = 3:
    (2^-9 (1 + 6 log 2) + 1/2 (-3 + 2 log 2)) / 2.
    """
    direction, bandwidths = stein_direction(particles(0, 2), particles(1, -3), particles(1, 3), 1e-3)
    assert bandwidths.tolist() == pytest.approx([1.0 / LOG_TWO])
    at_three = (2.0**-9 * (1.0 + 6.0 * LOG_TWO) + 0.5 * (-3.0 + 2.0 * LOG_TWO)) / 2.0
    assert direction.flatten().tolist() == pytest.approx([-0.5, at_three])


def test_the_bandwidth_has_a_floor():
    """All particles in one place: the kernel is one, nothing repels, the mean score is left."""
    direction, bandwidths = stein_direction(particles(2, 2), particles(1, -3), particles(2), 0.25)
    assert bandwidths.tolist() == [0.25]
    assert direction.flatten().tolist() == [-1.0]


def test_the_kernel_is_of_the_whole_action_and_of_one_observation():
    """Two dimensions: |x - u|^2 adds them up. Another observation changes nothing."""
    fixed = torch.tensor([[[0.0, 0.0]], [[3.0, 4.0]]], dtype=torch.float64)
    updated, scores = torch.zeros(1, 1, 2, dtype=torch.float64), torch.ones(2, 1, 2, dtype=torch.float64)
    direction, _ = stein_direction(fixed, scores, updated, 25.0)
    kernel = math.exp(-1.0)  # 25 / 25
    expected = [(1.0 + kernel * (1.0 - 2.0 * x / 25.0)) / 2.0 for x in (3.0, 4.0)]
    assert direction.flatten().tolist() == pytest.approx(expected)
    both = [
        torch.cat([one, one + 7.0 * shift], dim=1) for one, shift in ((fixed, 1), (scores, 1), (updated, 3))
    ]
    again, _ = stein_direction(*both, 25.0)
    torch.testing.assert_close(again[:, :1], direction)


def test_the_score_is_the_derivative_of_the_density_before_tanh():
    """At a = 1/2 with dQ/da = 2: 3/4 x 2 - 1. And against autograd of Q(tanh u) + log(1 - tanh(u)^2)."""
    assert score_before_tanh(torch.tensor([0.5]), torch.tensor([2.0])).item() == pytest.approx(0.5)
    u = torch.linspace(-2.0, 2.0, 9, dtype=torch.float64, requires_grad=True)
    a = torch.tanh(u)
    (expected,) = torch.autograd.grad((a.sin() + torch.log(1.0 - a.square())).sum(), u)
    torch.testing.assert_close(score_before_tanh(a, a.cos()).detach(), expected)


def test_the_soft_value_is_the_log_of_an_integral():
    """A constant c: c + dim log 2. Q = 3 a: the integral over [-1, 1] of exp(3 a) is 2 sinh(3) / 3."""
    constant = torch.full((16, 2), 5.0)
    assert soft_value(constant, 3).tolist() == pytest.approx([5.0 + 3.0 * LOG_TWO] * 2)
    middles = torch.from_numpy(np.linspace(-1.0, 1.0, 2000, endpoint=False) + 0.0005)
    found = soft_value(3.0 * middles[:, None], 1).item()
    assert found == pytest.approx(math.log(2.0 * math.sinh(3.0) / 3.0), abs=1e-5)


def test_the_soft_value_of_large_values_does_not_overflow():
    assert soft_value(torch.full((4, 1), 1000.0), 1).item() == pytest.approx(1000.0 + LOG_TWO)
