"""The policy of Soft Q-learning: a network that maps an observation and noise to one draw of the action.

It has no density in closed form, so it may have several modes.
"""

from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.networks.inputs import Inputs
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.trunks import RegisteredTrunk
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft


class SamplingNetworkConfig(Config):
    """Network that maps an observation and standard normal noise to an action, bounded by tanh."""

    kind: ClassVar[str] = "sampling_network"

    trunk: RegisteredTrunk
    """Network from the observation and the noise to features."""
    noise_dim: int = Field(ge=1, le=10_000)
    """Length of the noise, at least the action's."""
    normalised_terms: tuple[str, ...]
    """Terms that the policy normalises."""

    def build(self, spec: EnvSpec) -> "SamplingNetworkPolicy":
        """Return a network whose parameters are not drawn yet.

        Raises:
            ConfigError: the noise is shorter than the action.
        """
        if self.noise_dim < spec.action_dim:
            raise ConfigError(
                f"algorithm.noise_dim: expected at least {spec.action_dim}, the length of an action of "
                f"{spec.task}, because actions of less noise cannot fill its range; found {self.noise_dim}."
            )
        return SamplingNetworkPolicy(spec, self)


class SamplingNetworkPolicy(PolicyNetwork):
    """Maps raw observations and noise to actions: tanh(network(observation, noise) + noise).

    The noise is added (its first entries, where it is longer than the action) so that a policy is broad
    before training; a narrow one would find one mode and keep it. The export has the input `noise`. The
    deterministic action is the one for noise of zeros, which need not be a likely one.

    References:
        Haarnoja et al. 2017, arXiv:1702.08165, section 3.3.
    """

    noise_dim: int

    def __init__(self, spec: EnvSpec, config: SamplingNetworkConfig) -> None:
        super().__init__(
            spec, config.trunk, spec.action_dim, config.normalised_terms, extra_dim=config.noise_dim
        )
        self.noise_dim = config.noise_dim
        self._no_noise = np.zeros(config.noise_dim, dtype=np.float32)

    def unsquashed(self, inputs: Inputs, noise: torch.Tensor) -> torch.Tensor:
        """Return actions before tanh. Shape (B, action_dim).

        Args:
            inputs: B normalised observations.
            noise: Standard normal random numbers. Shape (B, noise_dim).
        """
        found: torch.Tensor = self.network(inputs, noise) + noise[:, : self.action_dim]
        return found

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action; without a generator, the one for noise of zeros; see `PolicyNetwork.act`."""
        noise = self._no_noise
        if generator is not None:
            noise = generator.standard_normal(self.noise_dim, dtype=np.float32)
        output = self.network.single(*self.single_inputs(observation), noise)
        action: FloatArray = np.tanh(output + noise[: self.action_dim])
        return action

    def forward(self, *terms: torch.Tensor) -> torch.Tensor:
        """Return actions in [-1, 1]; see `PolicyNetwork.forward`.

        Args:
            terms: Raw, one tensor a term, and the noise. Shape (B, noise_dim).
        """
        *observed, noise = terms
        inputs = self.normalised(self.inputs.of_terms(self._names, observed))
        return torch.tanh(self.unsquashed(inputs, noise))

    def describe(self, graph: "GraphDraft") -> str:
        """Write `forward` down; see `PolicyNetwork.describe`."""
        vector, images = self.describe_inputs(graph)
        output = self.network.describe(graph, vector, images, self.action_dim, "noise")
        added = "noise"
        if self.noise_dim > self.action_dim:
            added = graph.columns("noise", 0, self.action_dim, "added_noise")
        return graph.add("Tanh", [graph.add("Add", [output, added], "unsquashed")], "squashed")
