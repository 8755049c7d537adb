"""Q-functions as one stacked network."""

from collections.abc import Sequence

import torch
from torch import nn

from sacpipe.networks.mlp import StackedMLP


class StackedCritic(nn.Module):
    """`num_critics` independent Q-functions of a (normalised) observation and an action in [-1, 1]."""

    def __init__(
        self, observation_dim: int, action_dim: int, hidden_dims: Sequence[int], num_critics: int
    ) -> None:
        super().__init__()
        self.network = StackedMLP(num_critics, observation_dim + action_dim, hidden_dims, 1)

    def forward(self, observations: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """Return every critic's value of every pair. Shape (num_critics, B)."""
        values: torch.Tensor = self.network(torch.cat([observations, actions], dim=-1))
        return values.squeeze(-1)
