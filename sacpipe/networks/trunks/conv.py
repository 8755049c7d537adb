"""Strided convolutions for each image; their outputs, joined with the vector, go through a perceptron."""

import itertools
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.mlp import StackedMLP
from sacpipe.networks.trunks.base import Trunk, joined
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.terms import Term

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft

_KERNEL, _STRIDE = 3, 2
_ONNX_FLOAT32 = 1
"""Number of the type float32 in ONNX."""
_GREY = 1.0 / 255.0
"""One step of grey."""
_CHANNELS, _MAX_SIZE = (16, 32, 32), 64
"""Channels of a new params.yaml, which fit an image of 64 pixels."""


class ConvConfig(Config):
    """Convolutions of 3 x 3 with stride 2 and ReLU for each image, then a multilayer perceptron.

    Critics that see no image have the perceptron alone.
    """

    name: Literal["conv"]
    channels: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """Channels of each convolution."""
    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...]
    """Units of each hidden layer behind the convolutions."""

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: as many convolutions as the task's smallest image takes.

        Raises:
            ConfigError: an image is smaller than one convolution.
        """
        images = () if spec is None else spec.layout.image_terms
        size = min((min(term.shape[:2]) for term in images), default=_MAX_SIZE)
        if size < _KERNEL:
            small = next(term for term in images if min(term.shape[:2]) == size)
            raise ConfigError(
                f"algorithm.network.name: 'conv' needs images of {_KERNEL} x {_KERNEL} pixels or more, found "
                f"'{small.name}' of {small.shape[0]} x {small.shape[1]}. Enlarge the image, or give its "
                "pixels as a float32 vector, which the trunk `mlp` takes."
            )
        channels = []
        for count in _CHANNELS:
            if size >= _KERNEL:
                channels.append(count)
                size = (size - _KERNEL) // _STRIDE + 1
        return {"channels": channels, "hidden_dims": [budget.hidden_dim, budget.hidden_dim]}

    def build(self, inputs: GroupInputs, *, extra_dim: int, num: int) -> "ConvTrunk":
        """Return a trunk whose parameters are not drawn yet.

        Raises:
            ConfigError: the policy sees no image, or an image is too small.
        """
        if inputs.group == "policy" and not inputs.image_terms:
            raise ConfigError(
                "algorithm.network.name: 'conv' needs an image among the terms of the group "
                f"'{inputs.group}', found none. Use `mlp`."
            )
        encoders = [ImageEncoder(num, term, self.channels) for term in inputs.image_terms]
        in_dim = inputs.vector_dim + extra_dim + sum(encoder.out_dim for encoder in encoders)
        return ConvTrunk(encoders, StackedMLP(num, in_dim, self.hidden_dims), num)


class StackedConv(nn.Module):
    """`num` convolutions of the same shape side by side, computed as groups of one convolution."""

    def __init__(self, num: int, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num, out_channels, in_channels, _KERNEL, _KERNEL))
        self.bias = nn.Parameter(torch.zeros(num, out_channels))

    def reset(self, generator: torch.Generator) -> None:
        """Draw Glorot-uniform weights and zero biases."""
        _, out_channels, in_channels, *_ = self.weight.shape
        bound = (6.0 / ((in_channels + out_channels) * _KERNEL**2)) ** 0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            self.bias.zero_()

    def forward(self, images: torch.Tensor, members: int) -> torch.Tensor:
        """Map (B, members x in_channels, height, width) to (B, members x out_channels, ...)."""
        weight = self.weight[:members].flatten(0, 1)
        return functional.conv2d(images, weight, self.bias[:members].flatten(), _STRIDE, groups=members)


class ImageEncoder(nn.Module):
    """Maps one image term to a vector."""

    def __init__(self, num: int, term: Term, channels: tuple[int, ...]) -> None:
        super().__init__()
        height, width, depth = term.shape
        for _ in channels:
            height, width = ((size - _KERNEL) // _STRIDE + 1 for size in (height, width))
        if min(height, width) < 1:
            raise ConfigError(
                f"algorithm.network.channels: the image '{term.name}' of {term.shape[0]} x {term.shape[1]} "
                f"pixels is too small for {len(channels)} convolutions. Use fewer."
            )
        self.out_dim = channels[-1] * height * width
        layers = [StackedConv(num, before, after) for before, after in itertools.pairwise((depth, *channels))]
        self.layers, self._convs = nn.ModuleList(layers), tuple(layers)

    def reset(self, generator: torch.Generator) -> None:
        """Draw every layer's weights, in order."""
        for layer in self._convs:
            layer.reset(generator)

    def forward(self, images: torch.Tensor, members: int | None) -> torch.Tensor:
        """Map raw images (B, height, width, channels) to (members, B, out_dim), or (B, out_dim)."""
        num = 1 if members is None else members
        scaled = images.float() * _GREY
        hidden = scaled.permute(0, 3, 1, 2)
        if num > 1:
            hidden = hidden.repeat(1, num, 1, 1)
        for layer in self.layers:
            hidden = torch.relu(layer(hidden, num))
        if members is None:
            return hidden.reshape(-1, self.out_dim)
        return hidden.reshape(-1, num, self.out_dim).transpose(0, 1)

    def describe(self, graph: "GraphDraft", image: str, name: str) -> str:
        """Write the first member's `forward` down, and return the vector's name.

        Args:
            graph: Gets the operations.
            image: Name of the raw image.
            name: Beginning of the names of what is added.
        """
        grey = graph.add("Cast", [image], f"{name}_float", to=_ONNX_FLOAT32)
        scaled = graph.add("Mul", (grey, graph.constant(f"{name}_step", _GREY)), f"{name}_scaled")
        hidden = graph.add("Transpose", [scaled], f"{name}_planes", perm=(0, 3, 1, 2))
        for place, layer in enumerate(self._convs):
            label = f"{name}_conv_{place}"
            weight, bias = (tensor.detach().numpy()[0] for tensor in (layer.weight, layer.bias))
            constants = (graph.constant(f"{label}_weight", weight), graph.constant(f"{label}_bias", bias))
            shape = {"kernel_shape": (_KERNEL, _KERNEL), "strides": (_STRIDE, _STRIDE)}
            hidden = graph.add("Conv", (hidden, *constants), label, **shape)
            hidden = graph.add("Relu", [hidden], f"{name}_relu_{place}")
        return graph.rows(hidden, self.out_dim, f"{name}_vector")


class ConvTrunk(Trunk):
    """An encoder for each image, then the hidden layers of a perceptron."""

    def __init__(self, encoders: list[ImageEncoder], mlp: StackedMLP, num: int) -> None:
        super().__init__()
        self.encoders, self._encoders, self.mlp = nn.ModuleList(encoders), tuple(encoders), mlp
        self.num, self.feature_dim = num, mlp.out_dim

    def reset(self, generator: torch.Generator) -> None:
        """Draw the parameters of the encoders, then those of the perceptron."""
        for encoder in self._encoders:
            encoder.reset(generator)
        self.mlp.reset(generator)

    def forward(
        self, inputs: Inputs, extra: torch.Tensor | None = None, members: int | None = None
    ) -> torch.Tensor:
        """Return features; see `Trunk.forward`."""
        encoded = [
            encoder(image, members) for encoder, image in zip(self.encoders, inputs.images, strict=True)
        ]
        parts = [inputs.vector, *encoded] if extra is None else [inputs.vector, *encoded, extra]
        features: torch.Tensor = self.mlp(joined(parts, members))
        return features

    def describe(
        self, graph: "GraphDraft", vector: str | None, images: tuple[str, ...], extra: str | None = None
    ) -> str:
        """Write `forward` down; see `Trunk.describe`."""
        encoded = [
            encoder.describe(graph, image, f"image_{place}")
            for place, (encoder, image) in enumerate(zip(self._encoders, images, strict=True))
        ]
        return self.mlp.describe(graph, graph.joined([vector, *encoded, extra], "features"))
