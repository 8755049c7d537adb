"""Soft Q-learning (Haarnoja et al. 2017, arXiv:1702.08165, algorithm 1), with the Stein gradient corrected.

Order of an update, as in Softlearning: critics, policy, targets. What differs from Softlearning's SQL: the
policy is a sampling network, so that it may have several modes; its gradient is that of stein.py; losses are
means over the batch, not sums. With Adam a factor of the loss changes next to nothing.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field

from sacpipe.algorithms.actor_critic import VALUE_BIAS
from sacpipe.algorithms.adam import Adam, move_targets
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.losses import critic_loss, norm_of, weights_of
from sacpipe.algorithms.stein import soft_value
from sacpipe.algorithms.stein_policy import PARTICLES, Particles, SteinPolicyConfig, SteinPolicyLearner
from sacpipe.algorithms.td_errors import mean_td_errors
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

METRICS = (
    {
        "critic/loss": Metric(
            "reward²", "Sum over critics of half the mean squared TD error.", "Critic loss"
        ),
        "critic/q_mean": Metric("reward", "Mean value of the batch, over all critics.", "Mean Q-value"),
        "critic/target_mean": Metric("reward", "Mean regression target.", "Mean target of the critics"),
        "critic/next_soft_value_mean": Metric(
            "reward", "Mean soft value of the next observations: log-integral of exp(Q) over all actions."
        ),
        "critic/gradient_norm": Metric("reward²", "Euclidean norm of the critics' gradient, all parameters."),
    }
    | PARTICLES
    | VALUE_BIAS
)


class LastUpdate(NamedTuple):
    """Values of one update, kept by reference: a description costs nothing unless it is asked for."""

    q_values: FloatArray
    """Of the batch, in nats. Shape (num_critics, B)."""
    targets: FloatArray
    """In nats. Shape (B,)."""
    next_values: FloatArray
    """Soft values of the next observations, in nats. Shape (B,)."""
    particles: Particles
    """Of the policy's step."""
    critic_gradient_norm: Callable[[], float]

    def describe(self, reward_scale: float) -> dict[str, float]:
        """Return the metrics of the update."""
        errors = self.q_values.astype(np.float64) - self.targets
        squares = 0.5 * float(np.square(errors).mean(axis=1).sum())
        in_nats = {
            "critic/q_mean": self.q_values,
            "critic/target_mean": self.targets,
            "critic/next_soft_value_mean": self.next_values,
        }
        return (
            {name: float(values.mean()) / reward_scale for name, values in in_nats.items()}
            | {
                "critic/loss": squares / reward_scale**2,
                "critic/gradient_norm": self.critic_gradient_norm() / reward_scale**2,
            }
            | self.particles.describe(reward_scale)
        )


_REWARD_SCALES = (
    (r"gymnasium/(Swimmer|Hopper|HalfCheetah)-", 30.0),
    (r"gymnasium/Walker2d-", 10.0),
    (r"gymnasium/Ant-", 300.0),
    (r"gymnasium/Humanoid-", 100.0),
    (r"softlearning/MultiGoal-", 0.1),
    (r"", 1.0),
)
"""Softlearning's table (examples/development/variants.py and examples/multi_goal at 13cf187); first match."""


class SQLConfig(SteinPolicyConfig):
    """Soft Q-learning, arXiv:1702.08165."""

    variants: ClassVar[tuple[str, ...]] = ("softlearning", "paper")
    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    name: Literal["sql"]
    discount: float = Field(ge=0, lt=1)
    """Discount per step."""
    reward_scale: float = Field(gt=0)
    """Nats per unit of reward: one over the temperature, whose unit is reward per nat. A larger one makes the
    policy less random."""
    tau: float = Field(gt=0, le=1)
    """Weight of the critics in their targets at each target update; 1 copies them."""
    target_update_interval: int = Field(ge=1)
    """Gradient steps between target updates."""
    num_value_actions: int = Field(ge=1)
    """Uniform actions that estimate the soft value of an observation."""
    critic_learning_rate: float = Field(gt=0)
    """Learning rate of the critics."""

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: Softlearning's last version, or the paper's targets."""
        is_paper = budget.variant == "paper"
        task = "" if spec is None else spec.task
        return super().preset(spec, budget) | {
            "name": "sql",
            "discount": 0.99,
            "reward_scale": next(scale for pattern, scale in _REWARD_SCALES if re.match(pattern, task)),
            "tau": 1.0 if is_paper else 0.005,
            "target_update_interval": 1000 if is_paper else 1,
            "num_critics": 1 if is_paper else 2,
            "num_value_actions": 16,
            "critic_learning_rate": budget.learning_rate,
        }

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        return super().example().replace(discount=0.97, num_value_actions=4)

    def build(self, spec: EnvSpec, seed: int) -> "SQL":
        """Return a fresh learner for a task; a trunk that cannot take its observations is a ConfigError."""
        return SQL(self, spec, seed)


class SQL(SteinPolicyLearner):
    """The learner: a sampling network, stacked critics in nats, and their slow copies."""

    config: SQLConfig

    def __init__(self, config: SQLConfig, spec: EnvSpec, seed: int) -> None:
        super().__init__(config, spec, seed)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._critic_parameters: list[torch.Tensor] = list(self.critic.parameters())
        self._critic_optimiser = Adam(self._critic_parameters, config.adam, config.critic_learning_rate)
        optimisers = {"critic": self._critic_optimiser, "actor": self._actor_optimiser}
        self._keep_state({"target_critic": self.target_critic}, optimisers)
        self._last: LastUpdate | None = None

    def value(self, observation: Observation, action: FloatArray) -> float:
        """Return the lowest critic's value of one action, in task units of reward."""
        return super().value(observation, action) / self.config.reward_scale

    def update(self, batch: Batch) -> None:
        """Make one step of critics, policy and targets; see `Learner.update`."""
        size, count = len(batch.rewards), self.config.num_value_actions
        uniform = self._noise.random((count, size, self.spec.action_dim), dtype=np.float32)
        noise = self._draw_noise(size)
        next_values = self._next_values(batch, 2.0 * torch.from_numpy(uniform) - 1.0)
        targets = self._targets(batch, next_values)
        q_values, critic_gradients = self._step_critics(batch, targets)
        found = self._step_policy(batch, noise)
        self._step_targets()
        self._last = LastUpdate(
            q_values.numpy(),
            targets.numpy(),
            next_values.numpy(),
            found,
            norm_of(critic_gradients),
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
        gradients = torch.autograd.grad(
            critic_loss(q_values, targets, weights_of(batch)), self._critic_parameters
        )
        self._critic_optimiser.step(gradients, self.gradient_steps)
        return found, gradients

    @torch.no_grad()
    def _step_targets(self) -> None:
        """Count the update, and move the target critics a share `tau` towards the critics if that is due."""
        self.gradient_steps += 1
        if self.gradient_steps % self.config.target_update_interval == 0:
            targets = list(self.target_critic.parameters())
            move_targets(targets, self._critic_parameters, self.config.tau)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        if self._last is None:
            raise ValueError("there was no update to describe yet")
        return self._last.describe(self.config.reward_scale)

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last update; see `LearnerWithErrors`."""
        if self._last is None:
            raise ValueError("there was no update yet")
        found = mean_td_errors(self._last.q_values, self._last.targets)
        return (found / self.config.reward_scale).astype(np.float32)
