"""Soft Actor-Critic with automatic temperature (Haarnoja et al. 2018, arXiv:1812.05905), by autograd.

Differences from the paper are params: `actor_q` and `temperature.objective` (see losses.py). The engine
`torch` computes the same update by hand.
"""

from typing import Any, ClassVar, Literal

from sacpipe.algorithms.soft_actor_critic import GaussianActorCriticConfig, SoftActorCritic
from sacpipe.networks.policies.squashed_gaussian import SquashedGaussianPolicy
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec


class SACConfig(GaussianActorCriticConfig):
    """Soft Actor-Critic, arXiv:1812.05905."""

    variants: ClassVar[tuple[str, ...]] = ("paper", "softlearning")
    has_native_update: ClassVar[bool] = True

    name: Literal["sac"]

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the paper's, or those of Softlearning's last version."""
        tree = super().preset(spec, budget) | {"name": "sac"}
        if budget.variant in ("", "paper"):
            return tree
        temperature = tree["temperature"] | {"objective": "temperature"}
        return tree | {"actor_q": "mean", "adam": {"epsilon": 1.0e-7}, "temperature": temperature}

    def build(self, spec: EnvSpec, seed: int) -> "SAC":
        """Return a fresh learner for a task; a trunk that cannot take its observations is a ConfigError."""
        return SAC(self, spec, seed)


class SAC(SoftActorCritic):
    """The learner: a squashed Gaussian policy, stacked critics and their slow copies, a temperature."""

    actor: SquashedGaussianPolicy
    config: SACConfig
    native: ClassVar[str] = "sacpipe.algorithms.sac_native:NativeSAC"
    """Update composed of kernels, for the engine `native`."""
