"""A latent-space policy of two levels: the action of the upper level is the latent of the lower one.

References:
    Haarnoja et al. 2018, arXiv:1804.02808, section 4.2.
"""

from typing import TYPE_CHECKING, ClassVar

import torch

from sacpipe.core.config import Config
from sacpipe.networks.inputs import Inputs
from sacpipe.networks.policies.real_nvp import Flow, RealNVPConfig, RealNVPPolicy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation

if TYPE_CHECKING:
    from sacpipe.networks.graph import GraphDraft


class HierarchyConfig(Config):
    """Two invertible networks, one after the other; the lower one is of an earlier run and is not trained."""

    kind: ClassVar[str] = "hierarchy"

    upper: RealNVPConfig
    """Network from a normal latent to the latent of the lower level."""
    lower: RealNVPConfig
    """Network from that to the action."""

    def build(self, spec: EnvSpec) -> "HierarchyPolicy":
        """Return a network whose parameters are not drawn yet."""
        return HierarchyPolicy(spec, self)


class HierarchyPolicy(RealNVPPolicy):
    """Maps raw observations and a latent to actions, by the upper level and then by the lower.

    Both are invertible, so the density of an action stays exact. A new upper level changes nothing: the
    policy begins as the lower one. The parameters of the lower level have no gradient.
    """

    def __init__(self, spec: EnvSpec, config: HierarchyConfig) -> None:
        super().__init__(spec, config.upper)
        self.lower = RealNVPPolicy(spec, config.lower)
        self.lower.requires_grad_(False)

    def reset(self, generator: torch.Generator) -> None:
        """Draw the parameters of both levels, the upper first."""
        super().reset(generator)
        self.lower.reset(generator)

    def flow(self, inputs: Inputs, latents: torch.Tensor | None) -> Flow:
        """Take latents to actions before tanh; see `RealNVPPolicy.flow`."""
        upper = super().flow(inputs, latents)
        lower = self.lower.flow(inputs, upper.values)
        return Flow(lower.values, upper.log_scales + lower.log_scales)

    def inverse(self, inputs: Inputs, unsquashed: torch.Tensor) -> Flow:
        """Take actions before tanh back to latents; see `RealNVPPolicy.inverse`."""
        lower = self.lower.inverse(inputs, unsquashed)
        upper = super().inverse(inputs, lower.values)
        return Flow(upper.values, upper.log_scales + lower.log_scales)

    def single_flow(self, observation: Observation, latent: torch.Tensor) -> torch.Tensor:
        """Return the action before tanh of one observation and latent; see `RealNVPPolicy.single_flow`."""
        return self.lower.single_flow(observation, super().single_flow(observation, latent))

    def describe_flow(self, graph: "GraphDraft", latent: str | None) -> str:
        """Write both levels down; see `RealNVPPolicy.describe_flow`."""
        return self.lower.describe_flow(graph, super().describe_flow(graph, latent))
