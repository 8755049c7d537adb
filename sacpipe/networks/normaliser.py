"""Running mean and variance of observations, stored in checkpoints and exported inside the ONNX graph."""

import numpy as np
import torch
from torch import nn

from sacpipe.specs.records import FloatArray

_MIN_VARIANCE = 1e-8
_MAX_DEVIATION = 10.0


class Normaliser(nn.Module):
    """Shifts and scales observations to zero mean and unit variance, clipped at ten deviations.

    A new normaliser is the identity. Statistics are float64, so that ten million steps lose no precision;
    the networks receive float32.
    """

    count: torch.Tensor
    """Number of observations so far. float64, shape ()."""
    running_mean: torch.Tensor
    """Mean of the observations. float64, shape (observation_dim,)."""
    squared_deviations: torch.Tensor
    """Sum of squared deviations from the mean. float64, shape (observation_dim,)."""
    mean: torch.Tensor
    """The running mean as float32. Shape (observation_dim,)."""
    scale: torch.Tensor
    """One over the standard deviation, as float32. Shape (observation_dim,)."""

    def __init__(self, observation_dim: int) -> None:
        super().__init__()
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("running_mean", torch.zeros(observation_dim, dtype=torch.float64))
        self.register_buffer("squared_deviations", torch.zeros(observation_dim, dtype=torch.float64))
        self.register_buffer("mean", torch.zeros(observation_dim))
        self.register_buffer("scale", torch.ones(observation_dim))

    def observe(self, observation: FloatArray) -> None:
        """Add one observation to the statistics (Welford's update). Shape (observation_dim,).

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
            variance = (self.squared_deviations / self.count).clamp(min=_MIN_VARIANCE)
            self.scale.copy_(variance.rsqrt())

    def forward(self, observations: torch.Tensor) -> torch.Tensor:
        """Normalise observations. Shape (B, observation_dim)."""
        scaled = (observations - self.mean) * self.scale
        return scaled.clamp(-_MAX_DEVIATION, _MAX_DEVIATION)
