"""The tanh-squashed Gaussian policy of Soft Actor-Critic."""

import math
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch.nn import functional

from sacpipe.core.config import Config
from sacpipe.networks.inputs import Inputs
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.trunks import RegisteredTrunk
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

LOG_SQRT_TWO_PI = 0.5 * math.log(2.0 * math.pi)
LOG_TWO = math.log(2.0)


class SquashedGaussianConfig(Config):
    """Gaussian whose draws tanh squashes to (-1, 1)."""

    kind: ClassVar[str] = "squashed_gaussian"

    trunk: RegisteredTrunk
    """Network from the observation to features."""
    log_std_bounds: tuple[float, float]
    """Lowest and highest log standard deviation, before the squash."""
    normalised_terms: tuple[str, ...]
    """Terms that the policy normalises."""

    def build(self, spec: EnvSpec) -> "SquashedGaussianPolicy":
        """Return a network whose parameters are not drawn yet."""
        return SquashedGaussianPolicy(spec, self)


class Draw(NamedTuple):
    """Actions drawn from the policy."""

    actions: torch.Tensor
    """In (-1, 1). Shape (B, action_dim)."""
    log_probs: torch.Tensor
    """Log-densities in nats. Shape (B,)."""
    log_std: torch.Tensor
    """Log standard deviations before the squash, within their bounds. Shape (B, action_dim)."""


class SquashedGaussianPolicy(PolicyNetwork):
    """Maps raw observations to a Gaussian that tanh squashes to (-1, 1).

    The head's outputs are the means, then the log standard deviations.
    """

    def __init__(self, spec: EnvSpec, config: SquashedGaussianConfig) -> None:
        super().__init__(spec, config.trunk, 2 * spec.action_dim, config.normalised_terms)
        self.log_std_bounds = config.log_std_bounds

    def distribution(self, inputs: Inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log standard deviation before the squash. Shapes (B, action_dim)."""
        mean, log_std = self.output(inputs).chunk(2, dim=-1)
        return mean, log_std.clamp(*self.log_std_bounds)

    def sample(self, inputs: Inputs, noise: torch.Tensor) -> Draw:
        """Return reparameterised actions of raw inputs.

        Args:
            inputs: B raw observations.
            noise: Standard normal random numbers. Shape (B, action_dim).
        """
        mean, log_std = self.distribution(inputs)
        unsquashed = mean + log_std.exp() * noise
        return Draw(torch.tanh(unsquashed), squashed_log_density(noise, log_std, unsquashed), log_std)

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in (-1, 1); see `PolicyNetwork.act`."""
        output = self.single_output(observation)
        unsquashed = output[: self.action_dim]
        if generator is not None:
            noise = generator.standard_normal(self.action_dim, dtype=np.float32)
            std: FloatArray = np.exp(np.clip(output[self.action_dim :], *self.log_std_bounds))
            unsquashed = unsquashed + std * noise
        action: FloatArray = np.tanh(unsquashed).astype(np.float32, copy=False)
        return action


def squashed_log_density(
    noise: torch.Tensor, log_std: torch.Tensor, unsquashed: torch.Tensor
) -> torch.Tensor:
    """Return log pi(a|s) in nats for a = tanh(u), u = mean + std * noise. Shape (B,).

    log(1 - tanh(u)^2) is computed as 2 (log 2 - u - softplus(-2u)), which does not overflow and keeps its
    precision where tanh saturates.

    References:
        Haarnoja et al. 2018, arXiv:1812.05905, appendix C, eq. 26.
    """
    gaussian = -0.5 * noise.square() - log_std - LOG_SQRT_TWO_PI
    squash = 2.0 * (LOG_TWO - unsquashed - functional.softplus(-2.0 * unsquashed))
    return (gaussian - squash).sum(dim=-1)
