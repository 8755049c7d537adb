"""Soft Q-learning (Haarnoja et al. 2017, arXiv:1702.08165, algorithm 1), with the Stein gradient corrected.

Order of an update, as in Softlearning: critics, policy, targets. What differs from Softlearning's SQL: the
policy is a sampling network, so that it may have several modes; its gradient is that of stein.py; losses are
means over the batch, not sums. With Adam a factor of the loss changes next to nothing.
"""

import copy
import re
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from sacpipe.algorithms.actor_critic import ActorCritic
from sacpipe.algorithms.adam import Adam, AdamConfig
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.gradient_norm import norm_of
from sacpipe.algorithms.losses import critic_loss
from sacpipe.algorithms.sql_metrics import METRICS, LastUpdate
from sacpipe.algorithms.stein import score_before_tanh, soft_value, stein_direction
from sacpipe.core.config import Config
from sacpipe.networks.normaliser import normalised_names, seen_by_policy
from sacpipe.networks.policies.sampling_network import SamplingNetworkConfig, SamplingNetworkPolicy
from sacpipe.networks.trunks import RegisteredTrunk, trunk_for
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

_REWARD_SCALES = (
    (r"gymnasium/(Swimmer|Hopper|HalfCheetah)-", 30.0),
    (r"gymnasium/Walker2d-", 10.0),
    (r"gymnasium/Ant-", 300.0),
    (r"gymnasium/Humanoid-", 100.0),
    (r"softlearning/MultiGoal-", 0.1),
    (r"", 1.0),
)
"""Softlearning's table (examples/development/variants.py and examples/multi_goal at 13cf187); first match."""


class SQLConfig(Config):
    """Soft Q-learning, arXiv:1702.08165."""

    variants: ClassVar[tuple[str, ...]] = ("softlearning", "paper")

    name: Literal["sql"]
    network: RegisteredTrunk
    """Trunk of the policy and of every critic."""
    discount: float = Field(ge=0, lt=1)
    """Discount per step."""
    reward_scale: float = Field(gt=0)
    """Nats per unit of reward: one over the temperature, whose unit is reward per nat. A larger one makes the
    policy less random."""
    tau: float = Field(gt=0, le=1)
    """Weight of the critics in their targets at each target update; 1 copies them."""
    target_update_interval: int = Field(ge=1)
    """Gradient steps between target updates."""
    num_critics: int = Field(ge=1)
    """Q-functions in the ensemble; targets and policy use their minimum."""
    num_value_actions: int = Field(ge=1)
    """Uniform actions that estimate the soft value of an observation."""
    num_particles: int = Field(ge=3)
    """Actions of the policy for each observation of a batch in its gradient."""
    updated_share: float = Field(gt=0, lt=1)
    """Share of these that are moved, by the kernel with the others."""
    min_bandwidth: float = Field(gt=0)
    """Smallest bandwidth of the kernel, a squared distance before tanh."""
    noise_dim: int = Field(ge=1, le=10_000)
    """Length of the policy's noise, at least the action's."""
    critic_learning_rate: float = Field(gt=0)
    """Learning rate of the critics."""
    actor_learning_rate: float = Field(gt=0)
    """Learning rate of the policy."""
    adam: AdamConfig
    """Optimiser of critics and policy: Adam."""
    normalise_observations: bool | tuple[str, ...]
    """Normalisation by running mean and deviation: true, false or names of terms."""

    @property
    def num_updated(self) -> int:
        """Particles that are moved; the others are fixed."""
        return round(self.num_particles * self.updated_share)

    @model_validator(mode="after")
    def _enough_particles(self) -> Self:
        if not 1 <= self.num_updated <= self.num_particles - 2:
            raise ValueError(
                f"num_particles x updated_share: expected 1 to num_particles - 2, found {self.num_updated} "
                f"of {self.num_particles}; the kernel's bandwidth needs two fixed particles"
            )
        return self

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: Softlearning's last version, or the paper's targets."""
        is_paper = budget.variant == "paper"
        task = "" if spec is None else spec.task
        return {
            "name": "sql",
            "network": {"name": trunk_for(spec)},
            "discount": 0.99,
            "reward_scale": next(scale for pattern, scale in _REWARD_SCALES if re.match(pattern, task)),
            "tau": 1.0 if is_paper else 0.005,
            "target_update_interval": 1000 if is_paper else 1,
            "num_critics": 1 if is_paper else 2,
            "num_value_actions": 16,
            "num_particles": 16,
            "updated_share": 0.5,
            "min_bandwidth": 1e-3,
            "noise_dim": 2 if spec is None else spec.action_dim,
            "critic_learning_rate": budget.learning_rate,
            "actor_learning_rate": budget.learning_rate,
            "normalise_observations": False,
        }

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        budget = Budget(1000, learning_rate=1e-3)
        changes = {
            "network": {"name": "mlp", "hidden_dims": [16, 16]},
            "discount": 0.97,
            "num_value_actions": 4,
            "num_particles": 5,
            "noise_dim": 3,
            "adam": AdamConfig.preset(None, budget),
        }
        return cls.parse(cls.preset(None, budget) | changes)

    def build(self, spec: EnvSpec, seed: int) -> "SQL":
        """Return a fresh learner for a task; a trunk that cannot take its observations is a ConfigError."""
        return SQL(self, spec, seed)


class Particles(NamedTuple):
    """What the policy's step found."""

    actions: torch.Tensor
    q_values: torch.Tensor
    direction_norms: torch.Tensor
    bandwidths: torch.Tensor
    gradients: tuple[torch.Tensor, ...]


class SQL(ActorCritic):
    """The learner: a sampling network, stacked critics in nats, and their slow copies."""

    actor: SamplingNetworkPolicy

    def __init__(self, config: SQLConfig, spec: EnvSpec, seed: int) -> None:
        self.config = config
        names = normalised_names(spec, config.normalise_observations)
        kind = {
            "trunk": config.network.as_tree(),
            "noise_dim": config.noise_dim,
            "normalised_terms": seen_by_policy(spec, names),
        }
        super().__init__(
            config,
            spec,
            seed,
            SamplingNetworkConfig.parse(kind, where="algorithm"),
            num_critics=config.num_critics,
            normalised_terms=names,
        )
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._critic_parameters: list[torch.Tensor] = list(self.critic.parameters())
        self._actor_parameters: list[torch.Tensor] = list(self.actor.parameters())
        optimisers = {
            "critic": Adam(self._critic_parameters, config.adam, config.critic_learning_rate),
            "actor": Adam(self._actor_parameters, config.adam, config.actor_learning_rate),
        }
        self._optimisers = optimisers
        self._keep_state({"target_critic": self.target_critic}, optimisers)
        self._last: LastUpdate | None = None

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1], for noise of zeros if there is no generator; see `Learner.act`."""
        return self.actor.act(observation, generator)

    def value(self, observation: Observation, action: FloatArray) -> float:
        """Return the lowest critic's value of one action, in task units of reward."""
        return super().value(observation, action) / self.config.reward_scale

    def update(self, batch: Batch) -> None:
        """Make one step of critics, policy and targets; see `Learner.update`."""
        size, config = len(batch.rewards), self.config
        uniform = self._noise.random((config.num_value_actions, size, self.spec.action_dim), dtype=np.float32)
        noise = self._noise.standard_normal((config.num_particles * size, config.noise_dim), dtype=np.float32)
        next_values = self._next_values(batch, 2.0 * torch.from_numpy(uniform) - 1.0)
        targets = self._targets(batch, next_values)
        q_values, critic_gradients = self._step_critics(batch, targets)
        found = self._step_policy(batch, torch.from_numpy(noise))
        self._step_targets()
        self._last = LastUpdate(
            q_values.numpy(),
            targets.numpy(),
            next_values.numpy(),
            found.actions.numpy(),
            found.q_values.numpy(),
            found.direction_norms.numpy(),
            found.bandwidths.numpy(),
            norm_of(critic_gradients),
            norm_of(found.gradients),
        )

    @torch.no_grad()
    def _next_values(self, batch: Batch, actions: torch.Tensor) -> torch.Tensor:
        """Return the soft values of the next observations, in nats, by the target critics' minimum, eq. 10.

        Args:
            batch: B transitions.
            actions: Uniform in [-1, 1]. Shape (num_value_actions, B, action_dim).
        """
        count = len(actions)
        inputs = self.critic_inputs.of(batch.next_observations).repeated(count)
        values = self.target_critic(inputs, actions.flatten(0, 1)).amin(dim=0)
        return soft_value(values.view(count, -1), self.spec.action_dim)

    def _targets(self, batch: Batch, next_values: torch.Tensor) -> torch.Tensor:
        """Return y = scale x r + discount V(s'), in nats, eq. 7 and 11."""
        rewards = self.config.reward_scale * torch.from_numpy(batch.rewards)
        return rewards + torch.from_numpy(batch.discounts) * next_values

    def _step_critics(
        self, batch: Batch, targets: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """Regress the critics to their targets; return the values before, and the gradients."""
        q_values = self.critic(self.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions))
        found = q_values.detach()
        errors = (found - targets).numpy()
        refuse_non_finite("critic error (value minus target)", errors, self.gradient_steps + 1)
        gradients = torch.autograd.grad(critic_loss(q_values, targets), self._critic_parameters)
        self._optimisers["critic"].step(gradients, self.gradient_steps)
        return found, gradients

    def _step_policy(self, batch: Batch, noise: torch.Tensor) -> Particles:
        """Move the policy along the Stein direction of its updated particles, eq. 13 and 14.

        Args:
            batch: B transitions.
            noise: Standard normal random numbers. Shape (num_particles x B, noise_dim).
        """
        config, size, step = self.config, len(batch.rewards), self.gradient_steps + 1
        inputs = self.actor.normalised(self.actor.inputs.of(batch.observations))
        particles = self.actor.unsquashed(inputs.repeated(config.num_particles), noise)
        particles = particles.view(config.num_particles, size, -1)
        updated, fixed = particles[: config.num_updated], particles[config.num_updated :].detach()
        actions = torch.tanh(fixed).requires_grad_()
        q_values = self.critic(
            self.critic_inputs.of(batch.observations).repeated(len(fixed)), actions.flatten(0, 1)
        )
        lowest = q_values.amin(dim=0).view(len(fixed), size)
        refuse_non_finite("value of a new action", lowest.detach().numpy(), step)
        (q_gradients,) = torch.autograd.grad(lowest.sum(), actions)
        with torch.no_grad():
            scores = score_before_tanh(actions, q_gradients)
            direction, bandwidths = stein_direction(fixed, scores, updated, config.min_bandwidth)
            norms = direction.square().sum(dim=-1).sqrt()
        refuse_non_finite("Stein direction of a new action", norms.numpy(), step)
        loss = -(direction * updated).sum(dim=-1).mean()  # the direction has no gradient of its own
        gradients = torch.autograd.grad(loss, self._actor_parameters)
        self._optimisers["actor"].step(gradients, self.gradient_steps)
        return Particles(torch.tanh(particles.detach()), lowest.detach(), norms, bandwidths, gradients)

    @torch.no_grad()
    def _step_targets(self) -> None:
        """Count the update, and move the target critics a share `tau` towards the critics if that is due."""
        self.gradient_steps += 1
        if self.gradient_steps % self.config.target_update_interval == 0:
            targets: list[torch.Tensor] = list(self.target_critic.parameters())
            torch._foreach_lerp_(targets, self._critic_parameters, self.config.tau)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        if self._last is None:
            raise ValueError("there was no update to describe yet")
        return self._last.describe(self.config.reward_scale)

    def metrics(self) -> dict[str, Metric]:
        """Return unit and meaning of every metric."""
        return METRICS
