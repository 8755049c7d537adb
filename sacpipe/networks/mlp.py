"""A stack of multilayer perceptrons, evaluated with one batched product per layer.

A single network is a stack of one. Two critics are a stack of two: each layer is one `baddbmm` instead of
two products, and the optimiser has one set of tensors.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import nn


class StackedLinear(nn.Module):
    """`num` linear maps side by side. (num, B, in_dim) -> (num, B, out_dim)."""

    def __init__(self, num: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num, in_dim, out_dim))
        self.bias = nn.Parameter(torch.zeros(num, 1, out_dim))

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

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map each member's inputs, shape (num, B, in_dim), to its outputs, shape (num, B, out_dim)."""
        return torch.baddbmm(self.bias, inputs, self.weight)


class StackedMLP(nn.Module):
    """`num` perceptrons with ReLU after every layer but the last, which is linear."""

    def __init__(self, num: int, in_dim: int, hidden_dims: Sequence[int], out_dim: int) -> None:
        super().__init__()
        self.num = num
        dims = [in_dim, *hidden_dims, out_dim]
        layers = [StackedLinear(num, before, after) for before, after in itertools.pairwise(dims)]
        self.layers = nn.ModuleList(layers)

    def linears(self) -> Iterator[StackedLinear]:
        """Yield the layers in order."""
        yield from cast("Iterator[StackedLinear]", iter(self.layers))

    def reset(self, generator: torch.Generator) -> None:
        """Draw every layer's weights from one generator, in order."""
        for layer in self.linears():
            layer.reset(generator)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Evaluate every member on the same inputs. (B, in_dim) -> (num, B, out_dim)."""
        hidden = inputs.unsqueeze(0).expand(self.num, -1, -1)
        for layer in self.layers[:-1]:
            hidden = torch.relu(layer(hidden))
        output: torch.Tensor = self.layers[-1](hidden)
        return output
