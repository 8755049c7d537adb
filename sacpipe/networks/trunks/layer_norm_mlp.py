"""A multilayer perceptron whose layers are normalised before their ReLU."""

import itertools
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.mlp import StackedLinear
from sacpipe.networks.trunks.base import Trunk, joined
from sacpipe.networks.trunks.mlp import PerceptronConfig
from sacpipe.specs.records import FloatArray

EPSILON = 1e-5
"""Added to the variance; the default of PyTorch and ONNX."""
_ZERO, _ONE = np.float32(0.0), np.float32(1.0)


class LayerNormMLPConfig(PerceptronConfig):
    """Multilayer perceptron with layer normalisation (arXiv:1607.06450) before every ReLU, without images."""

    name: Literal["layer_norm_mlp"]

    def build(self, inputs: GroupInputs, *, extra_dim: int, num: int) -> "LayerNormMLPTrunk":
        """Return a trunk whose parameters are not drawn yet; images are a ConfigError."""
        self.refuse_images(inputs)
        return LayerNormMLPTrunk(num, inputs.vector_dim + extra_dim, self.hidden_dims)


class StackedLayerNorm(nn.Module):
    """`num` layer normalisations side by side: (x - mean) / sqrt(variance + epsilon) x weight + bias.

    References:
        Ba et al. 2016, eq. 3 and 4.
    """

    def __init__(self, num: int, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.ones(num, 1, dim))
        self.bias = nn.Parameter(torch.zeros(num, 1, dim))

    def reset(self) -> None:
        """Set weights of 1 and biases of 0."""
        with torch.no_grad():
            self.weight.fill_(1.0)
            self.bias.zero_()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Normalise rows of the first `n` members, shape (n, B, dim), or of the first alone, (B, dim)."""
        if inputs.dim() == 2:
            return functional.layer_norm(inputs, (self.dim,), self.weight[0, 0], self.bias[0, 0], EPSILON)
        normal = functional.layer_norm(inputs, (self.dim,), eps=EPSILON)
        return normal * self.weight[: len(inputs)] + self.bias[: len(inputs)]

    def single(self, values: FloatArray) -> FloatArray:
        """Normalise one row of the first member by NumPy. Shape (dim,)."""
        centred = values - values.mean(dtype=np.float32)
        variance = np.square(centred).mean(dtype=np.float32)
        normal = centred * (_ONE / np.sqrt(variance + np.float32(EPSILON)))
        result: FloatArray = normal * self.weight.detach().numpy()[0, 0] + self.bias.detach().numpy()[0, 0]
        return result


class LayerNormMLPTrunk(Trunk):
    """Hidden layers, each linear, normalised, then with a ReLU."""

    def __init__(self, num: int, in_dim: int, hidden_dims: Sequence[int]) -> None:
        super().__init__()
        dims = [in_dim, *hidden_dims]
        self.num, self.feature_dim = num, dims[-1]
        self.linears = tuple(StackedLinear(num, before, after) for before, after in itertools.pairwise(dims))
        self._norms = tuple(StackedLayerNorm(num, dim) for dim in hidden_dims)
        self.layers, self.norms = nn.ModuleList(self.linears), nn.ModuleList(self._norms)

    def reset(self, generator: torch.Generator) -> None:
        """Draw every layer's weights, in order; normalisations begin as the identity of normal rows."""
        for linear, norm in zip(self.linears, self._norms, strict=True):
            linear.reset(generator)
            norm.reset()

    def forward(
        self, inputs: Inputs, extra: torch.Tensor | None = None, members: int | None = None
    ) -> torch.Tensor:
        """Return features; see `Trunk.forward`."""
        features = joined([inputs.vector] if extra is None else [inputs.vector, extra], members)
        for linear, norm in zip(self.linears, self._norms, strict=True):
            features = torch.relu(norm(linear(features)))
        return features

    def single(
        self, vector: FloatArray, images: tuple[NDArray[np.uint8], ...], extra: FloatArray | None = None
    ) -> FloatArray:
        """Return features of one observation by NumPy; see `StackedMLP.single`."""
        del images  # the config refuses tasks that have some
        if extra is not None:
            vector = np.concatenate([vector, extra])
        for linear, norm in zip(self.linears, self._norms, strict=True):
            vector = np.maximum(norm.single(linear.single(vector)), _ZERO)
        return vector
