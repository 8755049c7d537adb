"""The tanh-squashed Gaussian policy of Soft Actor-Critic."""

from typing import ClassVar

import numpy as np
import torch

from sacpipe.core.config import Config
from sacpipe.networks.inputs import Inputs
from sacpipe.networks.policies.reparameterised import Draw, ReparameterisedPolicy, squashed_log_density
from sacpipe.networks.trunks import RegisteredTrunk
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


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


class SquashedGaussianPolicy(ReparameterisedPolicy):
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
        """Return actions mean + std x noise, squashed; see `ReparameterisedPolicy.sample`."""
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
