"""Soft Actor-Critic with automatic temperature (Haarnoja et al. 2018, arXiv:1812.05905), by autograd.

Differences from the paper are params: `actor_q` and `temperature.objective` (see losses.py). The engine
`torch` computes the same update by hand.
"""

from typing import Any, ClassVar, Literal

import torch

from sacpipe.algorithms.losses import critic_loss, soft_td_target
from sacpipe.algorithms.soft_actor_critic import Regression, SoftActorCritic, SoftActorCriticConfig
from sacpipe.networks.policies.squashed_gaussian import Draw
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch


class SACConfig(SoftActorCriticConfig):
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
        """Return a fresh learner for a task.

        Raises:
            ConfigError: the trunk cannot take the task's observations, or cannot be written to a policy file.
        """
        return SAC(self, spec, seed)


class SAC(SoftActorCritic):
    """The learner: a squashed Gaussian policy, stacked critics and their slow copies, a temperature."""

    native: ClassVar[str] = "sacpipe.algorithms.sac_native:NativeSAC"
    """Update composed of kernels, for the engine `native`."""

    def _regress(self, batch: Batch, following: Draw, temperature: torch.Tensor) -> Regression:
        """Fit the critics to y = r + discount (min Q' - temperature log pi), eq. 3 and 5."""
        with torch.no_grad():
            targets = soft_td_target(
                torch.from_numpy(batch.rewards),
                torch.from_numpy(batch.discounts),
                self.target_critic(self.critic_inputs.of(batch.next_observations), following.actions),
                following.log_probs,
                temperature=temperature,
            )
        q_values = self.critic(self.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions))
        return Regression(critic_loss(q_values, targets), q_values.detach(), targets)
