"""A trunk with a linear head."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sacpipe.networks.inputs import Inputs
from sacpipe.networks.mlp import StackedLinear
from sacpipe.networks.trunks.base import Trunk
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft


class Network(nn.Module):
    """`num` members, each a trunk with a linear head."""

    def __init__(self, trunk: Trunk, out_dim: int) -> None:
        super().__init__()
        self.trunk = trunk
        self.head = StackedLinear(trunk.num, trunk.feature_dim, out_dim)

    def reset(self, generator: torch.Generator) -> None:
        """Draw all parameters from one generator: the trunk's, then the head's."""
        self.trunk.reset(generator)
        self.head.reset(generator)

    def forward(
        self, inputs: Inputs, extra: torch.Tensor | None = None, members: int | None = None
    ) -> torch.Tensor:
        """Return outputs, shape (members, B, out_dim) or (B, out_dim); arguments as of `Trunk.forward`."""
        output: torch.Tensor = self.head(self.trunk(inputs, extra, members))
        return output

    def first_outputs(self, inputs: Inputs, count: int) -> torch.Tensor:
        """Return the first member's first outputs, without computing the others. Shape (B, count)."""
        return torch.addmm(self.head.bias[0, :, :count], self.trunk(inputs), self.head.weight[0][:, :count])

    def describe(
        self,
        graph: "GraphDraft",
        vector: str | None,
        images: tuple[str, ...],
        count: int,
        extra: str | None = None,
    ) -> str:
        """Write `first_outputs` down, and return the outputs' name; arguments as of `Trunk.describe`.

        With `extra`, the outputs are those of `forward`.
        """
        weight, bias = self.head.arrays()
        # A trunk of another package may have been written before there was an `extra`.
        features = self.trunk.describe(graph, vector, images, *(() if extra is None else (extra,)))
        return graph.linear(features, weight[:, :count], bias[:count], "head")

    def single(
        self, vector: FloatArray, images: tuple[NDArray[np.uint8], ...], extra: FloatArray | None = None
    ) -> FloatArray:
        """Return the first member's output for one observation; arguments as of `Trunk.single`."""
        weight, bias = self.head.arrays()
        features = self.trunk.single(vector, images, *(() if extra is None else (extra,)))
        output: FloatArray = features @ weight + bias
        return output
