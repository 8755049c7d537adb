"""Deep deterministic policy gradient (Lillicrap et al. 2015, arXiv:1509.02971), with this package's policy kind."""

import copy
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field
from torch import nn

from sacpipe.algorithms.actor_critic import ActorCritic
from sacpipe.algorithms.adam import Adam, AdamConfig
from sacpipe.algorithms.base import EvaluatedEpisode
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.core.config import Config
from sacpipe.networks.trunks import TrunkConfig, trunk_for
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray
from sacpipe_example.policy_kind import NoisyTanhConfig


class DDPGConfig(Config):
    """DDPG, arXiv:1509.02971."""

    name: Literal["ddpg"]
    network: TrunkConfig
    """Trunk of policy and critic."""
    discount: float = Field(ge=0, lt=1)
    """Discount per step."""
    tau: float = Field(gt=0, le=1)
    """Weight of the networks in their targets at each step."""
    deviation: float = Field(gt=0, le=1)
    """Standard deviation of the policy's noise, before tanh."""
    learning_rate: float = Field(gt=0)
    """Learning rate of policy and critic."""
    adam: AdamConfig
    """Optimiser of policy and critic: Adam."""

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml."""
        return {
            "name": "ddpg", "network": {"name": trunk_for(spec)}, "discount": 0.99, "tau": 0.01,
            "deviation": 0.2, "learning_rate": budget.learning_rate,
        }  # fmt: skip

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        budget = Budget(1000, learning_rate=1e-3)
        network = {"name": "mlp", "hidden_dims": [16, 16]}
        changes = {"network": network, "adam": AdamConfig.preset(None, budget)}
        return cls.parse(cls.preset(None, budget) | changes)

    def build(self, spec: EnvSpec, seed: int) -> "DDPG":
        """Return a fresh learner."""
        return DDPG(self, spec, seed)


class DDPG(ActorCritic):
    """The learner: a policy, a critic, and slow copies of both."""

    def __init__(self, config: DDPGConfig, spec: EnvSpec, seed: int) -> None:
        self.config = config
        kind = NoisyTanhConfig.parse({"trunk": config.network.as_tree(), "deviation": config.deviation})
        super().__init__(config, spec, seed, kind, num_critics=1)
        self.modules: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic}
        self.targets = copy.deepcopy(self.modules)
        self.optimisers = {
            name: Adam(list(module.parameters()), config.adam, config.learning_rate)
            for name, module in self.modules.items()
        }
        copies = {f"target_{name}": module for name, module in self.targets.items()}
        self._keep_state(copies, self.optimisers)
        self._last: dict[str, float] = {}

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action."""
        return self.actor.act(observation, generator)

    def update(self, batch: Batch) -> None:
        """Regress the critic, improve the policy, and move the targets."""
        with torch.no_grad():
            following = torch.tanh(
                self.targets["actor"].output(self.actor.inputs.of(batch.next_observations))
            )
            values = self.targets["critic"](self.critic_inputs.of(batch.next_observations), following)
            goals = torch.from_numpy(batch.rewards) + torch.from_numpy(batch.discounts) * values
        seen = self.critic_inputs.of(batch.observations)
        errors = self.critic(seen, torch.from_numpy(batch.actions)) - goals
        refuse_non_finite("critic error", errors.detach().numpy(), self.gradient_steps + 1)
        self._descend("critic", errors.square().mean())
        actions = torch.tanh(self.actor.output(self.actor.inputs.of(batch.observations)))
        loss = -self.critic(seen, actions).mean()
        self._descend("actor", loss)
        with torch.no_grad():
            for name, module in self.modules.items():
                torch._foreach_lerp_(
                    list(self.targets[name].parameters()), list(module.parameters()), self.config.tau
                )
        self.gradient_steps += 1
        self._last = {
            "critic/loss": float(errors.detach().square().mean()),
            "actor/loss": float(loss.detach()),
        }

    def _descend(self, name: str, loss: torch.Tensor) -> None:
        gradients = torch.autograd.grad(loss, list(self.modules[name].parameters()))
        self.optimisers[name].step(gradients, self.gradient_steps)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update."""
        if not self._last:
            raise ValueError("there was no update to describe yet")
        return self._last

    def metrics(self) -> dict[str, Metric]:
        """Return unit and meaning of every metric."""
        return {
            "critic/loss": Metric("reward²", "Mean squared TD error."),
            "actor/loss": Metric("reward", "Minus the mean value of the policy's actions."),
        }

    def describe_episodes(self, episodes: Sequence[EvaluatedEpisode]) -> dict[str, float]:
        """Return nothing."""
        return {}
