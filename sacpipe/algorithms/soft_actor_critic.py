"""What Soft Actor-Critic and its relatives have in common: all but the kind of the policy.

Haarnoja et al. 2018, arXiv:1812.05905, by autograd. Order of an update, as in Softlearning: critics, actor,
temperature, targets.
"""

import copy
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from sacpipe.algorithms.actor_critic import ActorCritic
from sacpipe.algorithms.adam import Adam, AdamConfig, move_targets
from sacpipe.algorithms.base import Arrays
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.losses import (
    actor_loss,
    critic_loss,
    norm_of,
    soft_td_target,
    temperature_loss,
    weights_of,
)
from sacpipe.algorithms.sac_metrics import METRICS, LastUpdate
from sacpipe.algorithms.td_errors import mean_td_errors
from sacpipe.core.config import Config
from sacpipe.networks.normaliser import normalised_names, seen_by_policy
from sacpipe.networks.policies import PolicyConfig
from sacpipe.networks.policies.reparameterised import Draw, ReparameterisedPolicy
from sacpipe.networks.policies.squashed_gaussian import SquashedGaussianConfig
from sacpipe.networks.trunks import RegisteredTrunk, trunk_for
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

Gradients = tuple[torch.Tensor, ...]


class AutomaticTemperature(Config):
    """A temperature learned so that the policy's entropy stays at a target."""

    mode: Literal["automatic"]
    """`automatic`, or `fixed` with `value` only."""
    initial: float = Field(gt=0)
    """First temperature, in reward per nat."""
    learning_rate: float = Field(gt=0)
    """Learning rate of the temperature's logarithm."""
    objective: Literal["log_temperature", "temperature"]
    """Factor of the entropy gap in the loss: `log_temperature` or `temperature`."""
    target_entropy_per_dimension: float
    """Target entropy in nats divided by the number of action dimensions; the paper's is -1."""

    def target_entropy(self, action_dim: int) -> float:
        """Return the target entropy in nats."""
        return self.target_entropy_per_dimension * action_dim


class FixedTemperature(Config):
    """A constant temperature."""

    mode: Literal["fixed"]
    """`fixed`, or `automatic` with more keys."""
    value: float = Field(gt=0)
    """Temperature, in reward per nat."""


class SoftActorCriticConfig(Config):
    """Keys of every maximum-entropy algorithm with stacked critics and a policy that has a density."""

    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    name: str
    network: RegisteredTrunk
    """Trunk of the policy and of every critic."""
    discount: float = Field(ge=0, lt=1)
    """Discount per step."""
    tau: float = Field(gt=0, le=1)
    """Weight of the critics in their targets at each target update."""
    target_update_interval: int = Field(ge=1)
    """Gradient steps between target updates."""
    num_critics: int = Field(ge=1)
    """Q-functions in the ensemble; the target uses their minimum."""
    actor_q: Literal["min", "mean"]
    """Value in the actor's loss: `min` of the critics (the paper) or their `mean`. Softlearning's last
    version has the mean."""
    critic_learning_rate: float = Field(gt=0)
    """Learning rate of the critics."""
    actor_learning_rate: float = Field(gt=0)
    """Learning rate of the policy."""
    adam: AdamConfig
    """Optimiser of critics, policy and temperature: Adam."""
    normalise_observations: bool | tuple[str, ...]
    """Normalisation by running mean and deviation: true, false or names of terms."""
    temperature: Annotated[AutomaticTemperature | FixedTemperature, Field(discriminator="mode")]
    """Weight of the entropy term."""

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml, without a name: those of the paper of SAC."""
        return {
            "network": {"name": trunk_for(spec)},
            "discount": 0.99,
            "tau": 0.005,
            "target_update_interval": 1,
            "num_critics": 2,
            "actor_q": "min",
            "critic_learning_rate": budget.learning_rate,
            "actor_learning_rate": budget.learning_rate,
            "adam": {},
            "normalise_observations": False,
            "temperature": {
                "mode": "automatic",
                "initial": 1.0,
                "learning_rate": budget.learning_rate,
                "objective": "log_temperature",
                "target_entropy_per_dimension": -1.0,
            },
        }

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        budget = Budget(1000, learning_rate=1e-3)
        network = {"name": "mlp", "hidden_dims": [16, 16]}
        changes = {"network": network, "discount": 0.97, "adam": AdamConfig.preset(None, budget)}
        return cls.parse(cls.preset(None, budget) | changes)

    def policy_kind(self, normalised_terms: tuple[str, ...]) -> PolicyConfig:
        """Return the config of the policy.

        Args:
            normalised_terms: Names of the terms that the policy normalises.
        """
        raise NotImplementedError


class GaussianActorCriticConfig(SoftActorCriticConfig):
    """Those keys, and the bounds of a squashed Gaussian policy."""

    log_std_min: float
    """Lowest log standard deviation of the Gaussian, before the squash."""
    log_std_max: float
    """Highest log standard deviation of the Gaussian, before the squash."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"log_std_min must be below log_std_max, found {self.log_std_min} and {self.log_std_max}"
            )
        return self

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml, without a name: those of the paper of SAC."""
        return super().preset(spec, budget) | {"log_std_min": -20.0, "log_std_max": 2.0}

    def policy_kind(self, normalised_terms: tuple[str, ...]) -> SquashedGaussianConfig:
        """Return the config of the policy; see `SoftActorCriticConfig.policy_kind`."""
        tree = {
            "trunk": self.network.as_tree(),
            "log_std_bounds": [self.log_std_min, self.log_std_max],
            "normalised_terms": normalised_terms,
        }
        return SquashedGaussianConfig.parse(tree, where="algorithm")


class Regression(NamedTuple):
    """What the critics are fitted to in an update."""

    loss: torch.Tensor
    """Scalar that the critics descend."""
    q_values: torch.Tensor
    """Values of the batch, without gradient. Shape (num_critics, B)."""
    targets: torch.Tensor
    """Shape (B,)."""


class SoftActorCritic(ActorCritic):
    """A learner: a policy that has a density, stacked critics and their slow copies, a temperature."""

    actor: ReparameterisedPolicy

    def __init__(self, config: SoftActorCriticConfig, spec: EnvSpec, seed: int) -> None:
        self.config = config
        names = normalised_names(spec, config.normalise_observations)
        super().__init__(
            config,
            spec,
            seed,
            config.policy_kind(tuple(seen_by_policy(spec, names))),
            num_critics=config.num_critics,
            normalised_terms=names,
        )
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._build_optimisers()
        self.last: LastUpdate | None = None
        """Values of the last update; an engine that replaces `update` sets it too."""

    def _build_optimisers(self) -> None:
        config, rule = self.config, self.config.temperature
        automatic = isinstance(rule, AutomaticTemperature)
        start = rule.initial if isinstance(rule, AutomaticTemperature) else rule.value
        self.log_temperature = nn.Parameter(torch.tensor(start).log(), requires_grad=automatic)
        self.critic_parameters: list[torch.Tensor] = list(self.critic.parameters())
        self.target_parameters: list[torch.Tensor] = list(self.target_critic.parameters())
        self.actor_parameters: list[torch.Tensor] = [
            parameter for parameter in self.actor.parameters() if parameter.requires_grad
        ]
        self.optimisers = {
            "critic": Adam(self.critic_parameters, config.adam, config.critic_learning_rate),
            "actor": Adam(self.actor_parameters, config.adam, config.actor_learning_rate),
        }
        if isinstance(rule, AutomaticTemperature):
            self.optimisers["temperature"] = Adam(
                [self.log_temperature], config.adam, rule.learning_rate, decays=False
            )
        self._keep_state(
            {"target_critic": self.target_critic},
            self.optimisers,
            {"log_temperature": self.log_temperature},
        )

    @property
    def target_entropy(self) -> float | None:
        """Target entropy in nats; None if the temperature is fixed."""
        rule = self.config.temperature
        if isinstance(rule, AutomaticTemperature):
            return rule.target_entropy(self.spec.action_dim)
        return None

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1]; see `Learner.act`."""
        return self.actor.act(observation, generator)

    def begin_with(self, weights: Arrays) -> None:
        """Take the weights of another learner; a fixed temperature stays that of the params."""
        if "log_temperature" in weights and isinstance(self.config.temperature, FixedTemperature):
            weights = weights | {"log_temperature": self.log_temperature.detach().numpy()}
        super().begin_with(weights)

    def update(self, batch: Batch) -> None:
        """Make one step of critics, actor, temperature and targets; see `Learner.update`."""
        noise = torch.from_numpy(self.draw_noise(len(batch.rewards)))
        with torch.no_grad():
            temperature = self.log_temperature.exp()
        q_values, targets, critic_gradients = self._step_critics(batch, noise[0], temperature)
        new_q_values, draw, actor_gradients = self._step_actor(batch, noise[1], temperature)
        self._step_temperature(draw.log_probs)
        self._step_targets()
        self.last = LastUpdate(
            q_values.numpy(),
            targets.numpy(),
            new_q_values.numpy(),
            draw.log_probs.numpy(),
            draw.log_std.numpy(),
            draw.actions.numpy(),
            temperature.item(),
            norm_of(critic_gradients),
            norm_of(actor_gradients),
        )

    def draw_noise(self, batch_size: int) -> FloatArray:
        """Draw the noise of an update: of the next actions, then of the present. Shape (2, B, action_dim)."""
        return self._noise.standard_normal((2, batch_size, self.spec.action_dim), dtype=np.float32)

    def _step_critics(
        self, batch: Batch, noise: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Gradients]:
        """Make one step of the critics; return values, targets and gradients."""
        with torch.no_grad():
            following = self.actor.sample(self.actor.inputs.of(batch.next_observations), noise)
        loss, found, targets = self._regress(batch, following, temperature)
        errors = (found - targets).numpy()
        refuse_non_finite("critic error (value minus target)", errors, self.gradient_steps + 1)
        gradients = torch.autograd.grad(loss, self.critic_parameters)
        self.optimisers["critic"].step(gradients, self.gradient_steps)
        return found, targets, gradients

    def _regress(self, batch: Batch, following: Draw, temperature: torch.Tensor) -> Regression:
        """Fit the critics to y = r + discount (min Q' - temperature log pi), eq. 3 and 5.

        An algorithm with other targets has its own.

        Args:
            batch: Transitions.
            following: The policy's draws at the next observations, without gradient.
            temperature: Before this update's own temperature step.
        """
        with torch.no_grad():
            targets = soft_td_target(
                torch.from_numpy(batch.rewards),
                torch.from_numpy(batch.discounts),
                self.target_critic(self.critic_inputs.of(batch.next_observations), following.actions),
                following.log_probs,
                temperature=temperature,
            )
        q_values = self.critic(self.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions))
        loss = critic_loss(q_values, targets, weights_of(batch))
        return Regression(loss, q_values.detach(), targets)

    def _step_actor(
        self, batch: Batch, noise: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, Draw, Gradients]:
        """Descend temperature x log pi - Q along reparameterised actions, eq. 7 and 9.

        Returns the values of the actions, the actions and gradients.
        """
        draw = self.actor.sample(self.actor.inputs.of(batch.observations), noise)
        q_values = self.critic(self.critic_inputs.of(batch.observations), draw.actions)
        loss = actor_loss(draw.log_probs, q_values, temperature=temperature, actor_q=self.config.actor_q)
        draw, found = Draw(*(tensor.detach() for tensor in draw)), q_values.detach()
        refuse_non_finite("value of a new action", found.numpy(), self.gradient_steps + 1)
        refuse_non_finite("log-density of a new action", draw.log_probs.numpy(), self.gradient_steps + 1)
        gradients = torch.autograd.grad(loss, self.actor_parameters)
        self.optimisers["actor"].step(gradients, self.gradient_steps)
        return found, draw, gradients

    def _step_temperature(self, log_probs: torch.Tensor) -> None:
        """Raise the temperature where the policy's entropy is below its target, eq. 18."""
        rule = self.config.temperature
        if isinstance(rule, AutomaticTemperature):
            loss = temperature_loss(
                self.log_temperature,
                log_probs,
                target_entropy=rule.target_entropy(self.spec.action_dim),
                objective=rule.objective,
            )
            gradients = torch.autograd.grad(loss, [self.log_temperature])
            self.optimisers["temperature"].step(gradients, self.gradient_steps)

    @torch.no_grad()
    def _step_targets(self) -> None:
        """Count the update, and move the target critics a share `tau` towards the critics if that is due."""
        self.gradient_steps += 1
        if self.gradient_steps % self.config.target_update_interval == 0:
            move_targets(self.target_parameters, self.critic_parameters, self.config.tau)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        if self.last is None:
            raise ValueError("there was no update to describe yet")
        return self.last.describe(self.config.actor_q, self.target_entropy)

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last update; see `LearnerWithErrors`."""
        if self.last is None:
            raise ValueError("there was no update yet")
        return mean_td_errors(self.last.q_values, self.last.targets)
