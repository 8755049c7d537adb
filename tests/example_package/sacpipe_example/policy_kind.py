"""A policy kind that stays stochastic on the robot: tanh of the network's output plus noise."""

from typing import ClassVar

import numpy as np
import torch
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.trunks import RegisteredTrunk
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


class NoisyTanhConfig(Config):
    """tanh of a network's output plus normal noise of one deviation."""

    kind: ClassVar[str] = "noisy_tanh"

    trunk: RegisteredTrunk
    """Network from the observation to features."""
    deviation: float = Field(gt=0, le=1)
    """Standard deviation of the noise, before tanh."""

    def build(self, spec: EnvSpec) -> "NoisyTanhPolicy":
        """Return a network whose parameters are not drawn yet."""
        return NoisyTanhPolicy(spec, self)


class NoisyTanhPolicy(PolicyNetwork):
    """The network. Its export has an input `noise`."""

    def __init__(self, spec: EnvSpec, config: NoisyTanhConfig) -> None:
        super().__init__(spec, config.trunk, spec.action_dim, normalised_terms=())
        self.deviation = config.deviation
        self.noise_dim = spec.action_dim

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action; see `PolicyNetwork.act`."""
        unsquashed = self.single_output(observation)
        if generator is not None:
            noise = generator.standard_normal(len(unsquashed), dtype=np.float32)
            unsquashed = unsquashed + np.float32(self.deviation) * noise
        action: FloatArray = np.tanh(unsquashed)
        return action

    def forward(self, *terms: torch.Tensor) -> torch.Tensor:
        """Return actions of raw terms; the last argument is the noise."""
        *observation, noise = terms
        inputs = self.normalised(self.inputs.of_terms(self._names, tuple(observation)))
        return torch.tanh(self.network.first_outputs(inputs, self.action_dim) + self.deviation * noise)
