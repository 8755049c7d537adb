"""Stein variational gradient descent and the soft value of Soft Q-learning, as pure functions.

Particles are actions u before tanh, a = tanh(u). The policy is to have the density exp(Q(a)) / Z in a, so
in u it has log pi(u) = Q(tanh u) + sum log(1 - tanh(u)^2) - log Z. Score, kernel and bandwidth are those of
u, and the direction is a gradient of u. Softlearning and haarnoja/softqlearning (sql.py, `_update_policy`)
take the derivative of that density by a and the kernel of a, which samples exp(Q(a)) (1 - a^2): for a
constant Q a variance of 0.2 instead of 1/3.
"""

import math

import torch


def score_before_tanh(actions: torch.Tensor, q_gradients: torch.Tensor) -> torch.Tensor:
    """Return d log pi(u) / du = (1 - a^2) dQ/da - 2a.

    Args:
        actions: a = tanh(u). Shape (..., action_dim).
        q_gradients: dQ/da, for Q in nats. Shape (..., action_dim).
    """
    return (1.0 - actions.square()) * q_gradients - 2.0 * actions


def stein_direction(
    fixed: torch.Tensor, scores: torch.Tensor, updated: torch.Tensor, min_bandwidth: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return where to move each updated particle, so that the particles' distribution nears the density.

    The direction of u is the mean over fixed particles x of k(x, u) score(x) + dk(x, u)/dx, with the kernel
    k(x, u) = exp(-|x - u|^2 / h). The bandwidth h is the median of |x - u|^2 over log F, at least
    `min_bandwidth`.

    Args:
        fixed: F particles of each of B observations, F > 1. Shape (F, B, action_dim).
        scores: Gradients of their log-density. Shape (F, B, action_dim).
        updated: U other particles. Shape (U, B, action_dim).
        min_bandwidth: Smallest h.

    Returns:
        Directions, shape (U, B, action_dim), and the bandwidths h, shape (B,).

    References:
        Liu & Wang 2016, arXiv:1608.04471, eq. 8 and section 5; Haarnoja et al. 2017, eq. 13.
    """
    differences = fixed.unsqueeze(1) - updated.unsqueeze(0)
    distances = differences.square().sum(dim=-1)
    medians = distances.flatten(0, 1).median(dim=0).values
    bandwidths = (medians / math.log(len(fixed))).clamp(min=min_bandwidth)
    kernel = torch.exp(-distances / bandwidths).unsqueeze(-1)
    repulsion = differences * (-2.0 / bandwidths).unsqueeze(-1)
    return (kernel * (scores.unsqueeze(1) + repulsion)).mean(dim=0), bandwidths


def soft_value(q_values: torch.Tensor, action_dim: int) -> torch.Tensor:
    """Return log of the integral of exp(Q(a)) over [-1, 1]^action_dim, from values of uniform actions.

    Args:
        q_values: In nats, of K actions of each of B observations. Shape (K, B).
        action_dim: Dimensions of an action; the volume of its range is 2^action_dim.

    Returns:
        In nats. Shape (B,).

    References:
        Haarnoja et al. 2017, eq. 10, with the uniform distribution as q.
    """
    return torch.logsumexp(q_values, dim=0) - math.log(len(q_values)) + action_dim * math.log(2.0)
