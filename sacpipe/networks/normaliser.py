"""Running mean and variance of observations: kept in checkpoints and exported inside the ONNX graph."""

import numpy as np
import torch
from torch import nn

from sacpipe.specs.records import FloatArray

_SMALLEST_VARIANCE = 1e-8
_LARGEST_DEVIATION = 10.0


class Normaliser(nn.Module):
    """Shift and scale observations to zero mean and unit variance, cut at ten deviations.

    Starts as the identity. Statistics are float64 so that ten million steps lose nothing; what the
    networks see is float32.
    """

    count: torch.Tensor
    running_mean: torch.Tensor
    squared_deviations: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def __init__(self, observation_dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("running_mean", torch.zeros(observation_dim, dtype=torch.float64))
        self.register_buffer("squared_deviations", torch.zeros(observation_dim, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(observation_dim))
        self.register_buffer("scale", torch.ones(observation_dim))

    def observe(self, observation: FloatArray) -> None:
        """Take one observation into the statistics (Welford's update). Shape (observation_dim,).

        References:
            Welford 1962, Technometrics 4(3).
        """
        value = torch.from_numpy(observation.astype(np.float64))
        self.count += 1
        before = value - self.running_mean
        self.running_mean += before / self.count
        self.squared_deviations += before * (value - self.running_mean)
        self.mean.copy_(self.running_mean)
        if self.count > 1:
            variance = (self.squared_deviations / self.count).clamp(min=_SMALLEST_VARIANCE)
            self.scale.copy_(variance.rsqrt())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Normalise. Shape (B, observation_dim)."""
        scaled = (observations - self.mean) * self.scale
        return scaled.clamp(-_LARGEST_DEVIATION, _LARGEST_DEVIATION)
