"""Policies whose actions are an invertible function of normal noise, squashed by tanh."""

import math
from typing import NamedTuple

import torch
from torch.nn import functional

from sacpipe.networks.inputs import Inputs
from sacpipe.networks.policies.base import PolicyNetwork

LOG_SQRT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
LOG_TWO = math.log(2.0)


class Draw(NamedTuple):
    """Actions drawn from the policy."""

    actions: torch.Tensor
    """In (-1, 1). Shape (B, action_dim)."""
    log_probs: torch.Tensor
    """Log-densities in nats. Shape (B,)."""
    log_std: torch.Tensor
    """Log scales of the noise before the squash, by dimension: of a Gaussian, its log standard deviations.
    Shape (B, action_dim)."""


class ReparameterisedPolicy(PolicyNetwork):
    """A policy that maximum-entropy algorithms can train: its draws have a gradient and a density."""

    def sample(self, inputs: Inputs, noise: torch.Tensor) -> Draw:
        """Return reparameterised actions of raw inputs.

        Args:
            inputs: B raw observations.
            noise: Standard normal random numbers. Shape (B, action_dim).
        """
        raise NotImplementedError


def squashed_log_density(
    noise: torch.Tensor, log_std: torch.Tensor, unsquashed: torch.Tensor
) -> torch.Tensor:
    """Return log pi(a|s) in nats for a = tanh(u), u = mean + std * noise. Shape (B,).

    It holds for every invertible u(noise) whose log |det du/dnoise| is the sum of `log_std`. log(1 -
    tanh(u)^2) is computed as 2 (log 2 - u - softplus(-2u)), which does not overflow and keeps its precision
    where tanh saturates.

    References:
        Haarnoja et al. 2018, arXiv:1812.05905, appendix C, eq. 26.
    """
    gaussian = -0.5 * noise.square() - log_std - LOG_SQRT_TWO_PI
    squash = 2.0 * (LOG_TWO - unsquashed - functional.softplus(-2.0 * unsquashed))
    return (gaussian - squash).sum(dim=-1)
