"""A stack of multilayer perceptrons, evaluated with one batched product per layer.

A single network is a stack of one. Two critics are a stack of two: each layer is one `baddbmm` instead of
two products, and the optimiser has one set of tensors.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft

_ZERO = np.float32(0.0)


class StackedLinear(nn.Module):
    """`num` linear maps side by side."""

    def __init__(self, num: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(num, 1, out_dim))
        self._arrays: tuple[FloatArray, FloatArray] | None = None
        self._address = 0

    def reset(self, generator: torch.Generator) -> None:
        """Draw Glorot-uniform weights and zero biases, as Softlearning's Keras layers did.

        References:
            Glorot & Bengio 2010, eq. 16.
        """
        _, in_dim, out_dim = self.weight.shape
        bound = (6.0 / (in_dim + out_dim)) ** 0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            self.bias.zero_()

    def arrays(self) -> tuple[FloatArray, FloatArray]:
        """Return weight and bias of the first member as NumPy views of the parameters.

        Updates are in place, so views stay valid; where an engine moved the parameters, new ones are made.
        """
        address = self.weight.data_ptr()
        if self._arrays is None or self._address != address:
            self._arrays = self.weight.detach().numpy()[0], self.bias.detach().numpy()[0, 0]
            self._address = address
        return self._arrays

    def single(self, values: FloatArray) -> FloatArray:
        """Map one input by the first member. Shapes (in_dim,) and (out_dim,)."""
        weight, bias = self.arrays()
        result: FloatArray = values @ weight + bias
        return result

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map inputs to outputs.

        Args:
            inputs: Of each of the first `n` members, shape (n, B, in_dim); or of the first member alone,
                shape (B, in_dim), which is computed as a plain product, and exported as one.

        Returns:
            Shape (n, B, out_dim), or (B, out_dim).
        """
        weight: torch.Tensor = self.weight
        bias: torch.Tensor = self.bias
        if inputs.dim() == 2:
            if len(weight) == 1:
                return torch.addmm(bias.squeeze(0), inputs, weight.squeeze(0))
            return torch.addmm(bias[0], inputs, weight[0])
        if len(inputs) < len(weight):
            weight, bias = weight[: len(inputs)], bias[: len(inputs)]
        return torch.baddbmm(bias, inputs, weight)


class StackedMLP(nn.Module):
    """`num` perceptrons with a ReLU after every layer."""

    def __init__(self, num: int, in_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        dims = [in_dim, *hidden_dims]
        self.out_dim = dims[-1]
        layers = [StackedLinear(num, before, after) for before, after in itertools.pairwise(dims)]
        self.layers = nn.ModuleList(layers)
        self.linears = tuple(layers)
        """The layers in order, with their type."""

    def reset(self, generator: torch.Generator) -> None:
        """Draw every layer's weights from one generator, in order."""
        for layer in self.linears:
            layer.reset(generator)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return what the last layer gives; shapes as of `StackedLinear.forward`."""
        for layer in self.linears:
            inputs = torch.relu(layer(inputs))
        return inputs

    def single(self, values: FloatArray) -> FloatArray:
        """Evaluate the first member on one input. Shapes (in_dim,) and (out_dim,).

        NumPy computes it on the parameters' own memory, because for one observation PyTorch's dispatch takes
        several times as long as the arithmetic.
        """
        for layer in self.linears:
            values = np.maximum(layer.single(values), _ZERO)
        return values

    def describe(self, graph: "GraphDraft", inputs: str) -> str:
        """Write the first member down, and return the name of what its last layer gives."""
        for place, layer in enumerate(self.linears):
            inputs = graph.add(
                "Relu", [graph.linear(inputs, *layer.arrays(), f"hidden_{place}")], f"relu_{place}"
            )
        return inputs
