"""Latent-space policies (Haarnoja et al. 2018, arXiv:1804.02808): SAC with an invertible policy.

The policy is a real NVP network, which can be more than a Gaussian: curved, skewed, with several modes. Its
latent is the interface for a next level: with `lower`, the network of an earlier run stays as it is, and a
second one learns the latents that it is given. Differences from the paper: the entropy is that of the action,
so that it has the same target with and without a lower level; the temperature is automatic, by default.
"""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.base import Weights, part_of
from sacpipe.algorithms.sac_metrics import METRICS as SAC_METRICS
from sacpipe.algorithms.soft_actor_critic import SoftActorCritic, SoftActorCriticConfig
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.networks.policies.hierarchy import HierarchyConfig, HierarchyPolicy
from sacpipe.networks.policies.real_nvp import RealNVPConfig, RealNVPPolicy
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_LOWER_KEY = "algorithm.lower.sha256"

METRICS = SAC_METRICS | {
    f"actor/log_std_{name}": Metric("nats", f"{word} log slope from latent to action, before the squash.")
    for name, word in (("min", "Lowest"), ("mean", "Mean"), ("max", "Highest"))
}


class LowerLevelConfig(Config):
    """Policy of an earlier run of this algorithm, in `data/warm_start`, as the lower level."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of its policy.safetensors."""


class LSPConfig(SoftActorCriticConfig):
    """Latent-space policies, arXiv:1804.02808."""

    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    name: Literal["lsp"]
    num_couplings: int = Field(ge=2, le=64)
    """Affine coupling layers of the policy; each changes one half of the action, by turns."""
    coupling_dim: int = Field(ge=1)
    """Hidden units of each coupling's network."""
    max_log_scale: float = Field(gt=0)
    """Bound of the log scale of one coupling, in nats, either way."""
    smoothing: float = Field(ge=0, lt=1)
    """Share s of the last latent in the next one of an episode, in training: s h + sqrt(1 - s^2) z, with a
    new z. 0 draws each latent anew."""
    lower: LowerLevelConfig | None
    """Lower level: null, or {sha256} of a policy of this algorithm with the same network, which is kept."""

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: SAC's, and the two couplings of the authors."""
        own = {"num_couplings": 2, "coupling_dim": 128, "max_log_scale": 5.0, "smoothing": 0.0, "lower": None}
        return super().preset(spec, budget) | {"name": "lsp"} | own

    def policy_kind(self, normalised_terms: tuple[str, ...]) -> RealNVPConfig | HierarchyConfig:
        """Return the config of the policy; see `SoftActorCriticConfig.policy_kind`."""
        tree = {
            "trunk": self.network.as_tree(),
            "num_couplings": self.num_couplings,
            "coupling_dim": self.coupling_dim,
            "max_log_scale": self.max_log_scale,
            "normalised_terms": normalised_terms,
        }
        if self.lower is None:
            return RealNVPConfig.parse(tree, where="algorithm")
        return HierarchyConfig.parse({"upper": tree, "lower": tree}, where="algorithm")

    def needed_weights(self) -> dict[str, str]:
        """Return the digest of the lower level; see `NeedsWeights`."""
        return {} if self.lower is None else {_LOWER_KEY: self.lower.sha256}

    def build(self, spec: EnvSpec, seed: int) -> "LSP":
        """Return a fresh learner for a task; a trunk that cannot take its observations is a ConfigError."""
        return SmoothedLSP(self, spec, seed) if self.smoothing else LSP(self, spec, seed)


class LSP(SoftActorCritic):
    """The learner: an invertible policy of one or two levels, and what every soft actor-critic has."""

    actor: RealNVPPolicy
    config: LSPConfig

    def __init__(self, config: LSPConfig, spec: EnvSpec, seed: int) -> None:
        super().__init__(config, spec, seed)
        self._lower = self.actor.lower if isinstance(self.actor, HierarchyPolicy) else None

    @torch.no_grad()
    def take_weights(self, key: str, weights: Weights) -> None:
        """Copy the lower level in; see `NeedsWeights`.

        Raises:
            ConfigError: it is no policy of this algorithm, or has another network.
        """
        if self._lower is None:
            raise ValueError("expected `lower` in the config, found null")
        found, own = weights.header, self._policy.header.network["upper"]
        if (found.kind, found.network) != (RealNVPConfig.kind, own):
            raise ConfigError(
                f"{key}: expected a policy of the kind '{RealNVPConfig.kind}' with the network of these "
                f"params, {own}; found the kind '{found.kind}' with {found.network}"
            )
        lower = part_of(weights.arrays, "actor/")
        self._lower.load_state_dict({name: torch.from_numpy(array) for name, array in lower.items()})


class SmoothedLSP(LSP):
    """The learner where the latents of an episode's training actions are smoothed."""

    def __init__(self, config: LSPConfig, spec: EnvSpec, seed: int) -> None:
        self._latent = torch.zeros(spec.action_dim)
        """Of the last training action of the episode; zeros before the first."""
        super().__init__(config, spec, seed)

    def _keep_state(
        self,
        copies: Mapping[str, nn.Module],
        optimisers: Mapping[str, Adam],
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        super()._keep_state(copies, optimisers, {**(tensors or {}), "exploration_latent": self._latent})

    def explore(self, observation: Observation, generator: np.random.Generator) -> FloatArray:
        """Return one training action, whose latent is a smoothed one; see `Explorer.explore`.

        Every latent is standard normal, also the first of an episode.
        """
        kept = self.config.smoothing
        latent = torch.from_numpy(generator.standard_normal(self.spec.action_dim, dtype=np.float32))
        if bool(self._latent.any()):
            latent = kept * self._latent + math.sqrt(1.0 - kept * kept) * latent
        self._latent.copy_(latent)
        return self.actor.act_of_latent(observation, latent.numpy())

    def end_episode(self) -> None:
        """Let the next episode begin with a latent of its own."""
        self._latent.zero_()
