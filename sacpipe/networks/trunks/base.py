"""What every trunk is."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sacpipe.networks.inputs import Inputs
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft


class Trunk(nn.Module):
    """Maps inputs, and a critic's action, to features; `num` members with parameters of their own."""

    num: int
    """Members of the stack."""
    feature_dim: int
    """Length of the features."""

    def reset(self, generator: torch.Generator) -> None:
        """Draw all parameters from one generator, in a fixed order."""
        raise NotImplementedError

    def forward(
        self, inputs: Inputs, extra: torch.Tensor | None = None, members: int | None = None
    ) -> torch.Tensor:
        """Return features of B inputs.

        Args:
            inputs: Normalised vector and raw images.
            extra: The action of a critic, or the noise of a policy. Shape (B, extra_dim).
            members: Number of members, from the first; None for the first without a leading axis.

        Returns:
            Shape (members, B, feature_dim), or (B, feature_dim).
        """
        raise NotImplementedError

    def single(
        self, vector: FloatArray, images: tuple[NDArray[np.uint8], ...], extra: FloatArray | None = None
    ) -> FloatArray:
        """Return the first member's features of one observation. Shape (feature_dim,).

        Args:
            vector: Normalised. Shape (vector_dim,).
            images: Raw. Shape (height, width, channels) each.
            extra: Of a trunk that was built with an `extra_dim`, which it is the length of.
        """
        with torch.no_grad():
            parts = tuple(torch.from_numpy(image[None]) for image in images)
            inputs = Inputs(torch.from_numpy(vector[None]), parts)
            more = None if extra is None else torch.from_numpy(extra[None])
            features: FloatArray = self(inputs, more)[0].numpy()
        return features

    def describe(
        self, graph: "GraphDraft", vector: str | None, images: tuple[str, ...], extra: str | None = None
    ) -> str:
        """Write the first member's `forward` down, and return the features' name.

        Optional: the policy of a trunk that does not describe itself is traced, which takes seconds more.

        Args:
            graph: Gets the operations.
            vector: Name of the normalised vector; None where there is no float32 term.
            images: Names of the raw images.
            extra: Name of the other vector that it takes; None for none.
        """
        raise NotImplementedError


def joined(parts: list[torch.Tensor], members: int | None) -> torch.Tensor:
    """Join parts along their last axis, for each member.

    Args:
        parts: Shape (B, dim) where the part is common to all members, else (members, B, dim).
        members: As of `Trunk.forward`.
    """
    parts = [part for part in parts if part.shape[-1]]
    if members is None or all(part.dim() == 2 for part in parts):
        whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)
        return whole if members is None else whole.unsqueeze(0).expand(members, -1, -1)
    return torch.cat([part.expand(members, *part.shape[-2:]) for part in parts], dim=-1)
