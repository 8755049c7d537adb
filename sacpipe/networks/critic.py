"""Q-functions as one stacked network."""

from typing import TYPE_CHECKING

import torch
from torch import nn

from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.network import Network

if TYPE_CHECKING:
    from sacpipe.networks.trunks import TrunkSection


class StackedCritic(nn.Module):
    """`num_critics` independent Q-functions of an observation's critic group and an action in [-1, 1]."""

    def __init__(
        self,
        trunk: "TrunkSection",
        inputs: GroupInputs,
        action_dim: int,
        num_critics: int,
        *,
        out_dim: int = 1,
    ) -> None:
        super().__init__()
        self.num = num_critics
        self.network = Network(trunk.build(inputs, extra_dim=action_dim, num=num_critics), out_dim)

    def forward(self, inputs: Inputs, actions: torch.Tensor) -> torch.Tensor:
        """Return every critic's value of every pair. Shape (num_critics, B).

        Args:
            inputs: Normalised, if the params say so.
            actions: In [-1, 1]. Shape (B, action_dim).
        """
        return self._values_of(self.network(inputs, actions, self.num))

    def first(self, inputs: Inputs, actions: torch.Tensor) -> torch.Tensor:
        """Return the first critic's value of every pair. Shape (B,)."""
        return self._values_of(self.network(inputs, actions))

    def _values_of(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the values that the network's outputs, along their last axis, stand for."""
        return outputs.squeeze(-1)


class QuantileCritic(StackedCritic):
    """Distributions of the return, each of `num_quantiles` equally likely atoms; a value is their mean.

    References:
        Dabney et al. 2018, arXiv:1710.10044.
    """

    def __init__(
        self,
        trunk: "TrunkSection",
        inputs: GroupInputs,
        action_dim: int,
        num_critics: int,
        *,
        num_quantiles: int,
    ) -> None:
        super().__init__(trunk, inputs, action_dim, num_critics, out_dim=num_quantiles)

    def quantiles(self, inputs: Inputs, actions: torch.Tensor) -> torch.Tensor:
        """Return every critic's atoms of every pair. Shape (num_critics, B, num_quantiles)."""
        atoms: torch.Tensor = self.network(inputs, actions, self.num)
        return atoms

    def _values_of(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return the means of the atoms."""
        return outputs.mean(dim=-1)
