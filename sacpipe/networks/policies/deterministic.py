"""The deterministic policy: one action for an observation, bounded by tanh."""

from typing import ClassVar

import numpy as np
import torch

from sacpipe.core.config import Config
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.trunks import RegisteredTrunk
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray


class DeterministicConfig(Config):
    """Deterministic policy with tanh."""

    kind: ClassVar[str] = "deterministic"

    trunk: RegisteredTrunk
    """Network from the observation to features."""
    normalised_terms: tuple[str, ...]
    """Terms that the policy normalises."""

    def build(self, spec: EnvSpec) -> "DeterministicPolicy":
        """Return a network whose parameters are not drawn yet."""
        return DeterministicPolicy(spec, self.trunk, spec.action_dim, self.normalised_terms)


class DeterministicPolicy(PolicyNetwork):
    """Maps observations to tanh of the network's output."""

    def actions(self, observations: Observation) -> torch.Tensor:
        """Return the actions of B observations, differentiable. Shape (B, action_dim)."""
        return torch.tanh(self.output(self.inputs.of(observations)))

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return the action, with or without a generator; see `PolicyNetwork.act`."""
        del generator  # the action has no noise
        action: FloatArray = np.tanh(self.single_output(observation))
        return action
