"""The tanh-squashed Gaussian actor of Soft Actor-Critic."""

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from sacpipe.networks.mlp import StackedMLP
from sacpipe.networks.normaliser import Normaliser
from sacpipe.specs.records import FloatArray

LOG_SQRT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
LOG_TWO = math.log(2.0)
_ZERO = np.float32(0.0)


class SquashedGaussianActor(nn.Module):
    """Maps raw observations to a Gaussian that tanh squashes to (-1, 1).

    `normaliser` is None if observations are not normalised.
    """

    def __init__(
        self,
        observation_dim: int,
        action_dim: int,
        hidden_dims: Sequence[int],
        *,
        log_std_bounds: tuple[float, float],
        normaliser: Normaliser | None,
    ) -> None:
        super().__init__()
        self.network = StackedMLP(1, observation_dim, hidden_dims, 2 * action_dim)
        self.normaliser = normaliser
        self.action_dim = action_dim
        self.log_std_bounds = log_std_bounds

    @cached_property
    def _views(self) -> list[tuple[FloatArray, FloatArray]]:
        """Weights and biases as NumPy views of the parameters; updates are in place, so views stay valid."""
        layers = self.network.linears()
        return [(layer.weight.detach().numpy()[0], layer.bias.detach().numpy()[0, 0]) for layer in layers]

    def distribution(self, observations: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log standard deviation before the squash. Shapes (B, action_dim)."""
        if self.normaliser is not None:
            observations = self.normaliser(observations)
        mean, log_std = self.network(observations)[0].chunk(2, dim=-1)
        return mean, log_std.clamp(*self.log_std_bounds)

    def sample(self, observations: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return reparameterised actions and their log-densities.

        Args:
            observations: Raw observations. Shape (B, observation_dim).
            noise: Standard normal random numbers. Shape (B, action_dim).

        Returns:
            Actions in (-1, 1), shape (B, action_dim); log-densities in nats, shape (B,).
        """
        mean, log_std = self.distribution(observations)
        unsquashed = mean + log_std.exp() * noise
        return torch.tanh(unsquashed), squashed_log_density(noise, log_std, unsquashed)

    def act(self, observation: FloatArray, noise: FloatArray | None) -> FloatArray:
        """Return one action in (-1, 1). Shape (action_dim,).

        NumPy computes it on the parameters' own memory, because for one observation PyTorch's dispatch
        takes several times as long as the arithmetic. The result equals that of `sample` and `forward` up
        to rounding.

        Args:
            observation: Raw observation. Shape (observation_dim,).
            noise: Standard normal random numbers, shape (action_dim,); None for the deterministic action.
        """
        hidden = observation
        if self.normaliser is not None:
            hidden = self.normaliser(torch.from_numpy(observation)).numpy()
        *inner, (last_weight, last_bias) = self._views
        for weight, bias in inner:
            hidden = np.maximum(hidden @ weight + bias, _ZERO)
        output = hidden @ last_weight + last_bias
        unsquashed = output[: self.action_dim]
        if noise is not None:
            unsquashed = unsquashed + np.exp(np.clip(output[self.action_dim :], *self.log_std_bounds)) * noise
        action: FloatArray = np.tanh(unsquashed).astype(np.float32, copy=False)
        return action

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Return the deterministic action, the squashed mean. Shape (B, action_dim).

        This function is exported to the bundle. It uses plain products, because stacked ones would leave
        reshape operators in the exported graph.
        """
        hidden = observations if self.normaliser is None else self.normaliser(observations)
        *inner, last = self.network.linears()
        for layer in inner:
            hidden = torch.relu(torch.addmm(layer.bias[0], hidden, layer.weight[0]))
        mean = slice(None, self.action_dim)
        return torch.tanh(torch.addmm(last.bias[0, :, mean], hidden, last.weight[0][:, mean]))


def squashed_log_density(
    noise: torch.Tensor, log_std: torch.Tensor, unsquashed: torch.Tensor
) -> torch.Tensor:
    """Return log pi(a|s) in nats for a = tanh(u), u = mean + std * noise. Shape (B,).

    log(1 - tanh(u)^2) is computed as 2 (log 2 - u - softplus(-2u)), which does not overflow and keeps its
    precision where tanh saturates.

    References:
        Haarnoja et al. 2018, arXiv:1812.05905, appendix C, eq. 26.
    """
    gaussian = -0.5 * noise.square() - log_std - LOG_SQRT_TWO_PI
    squash = 2.0 * (LOG_TWO - unsquashed - functional.softplus(-2.0 * unsquashed))
    return (gaussian - squash).sum(dim=-1)
