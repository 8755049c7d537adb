"""Twin Delayed Deep Deterministic policy gradient (Fujimoto et al. 2018, arXiv:1802.09477, algorithm 1)."""

import copy
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field

from sacpipe.algorithms.actor_critic import VALUE_BIAS, ActorCritic
from sacpipe.algorithms.adam import Adam, AdamConfig, move_targets
from sacpipe.algorithms.base import Arrays
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.losses import norm_of, weighted, weights_of
from sacpipe.algorithms.td_errors import mean_td_errors
from sacpipe.core.config import Config
from sacpipe.networks.normaliser import normalised_names, seen_by_policy
from sacpipe.networks.policies.deterministic import DeterministicConfig
from sacpipe.networks.trunks import RegisteredTrunk, trunk_for
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

_SATURATED = 0.99

METRICS = {
    "critic/loss": Metric("reward²", "Sum over both critics of the mean squared TD error.", "Critic loss"),
    "critic/q_mean": Metric("reward", "Mean value of the batch, over both critics.", "Mean Q-value"),
    "actor/loss": Metric(
        "reward", "Minus the mean value of the policy, in updates that move it.", "Actor loss"
    ),
    "critic/target_mean": Metric("reward", "Mean regression target.", "Mean target of the critics"),
    "critic/gradient_norm": Metric("reward²", "Euclidean norm of the critics' gradient, all parameters."),
    "actor/saturation": Metric("share", "Share of these actions beyond 0.99 of their range."),
} | VALUE_BIAS


class TD3Config(Config):
    """TD3, arXiv:1802.09477."""

    has_native_update: ClassVar[bool] = True
    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    name: Literal["td3"]
    network: RegisteredTrunk
    """Trunk of the policy and of both critics."""
    discount: float = Field(ge=0, lt=1)
    """Discount per step."""
    tau: float = Field(gt=0, le=1)
    """Weight of the networks in their targets at each step of the policy."""
    policy_delay: int = Field(ge=1)
    """Gradient steps of the critics for each step of policy and targets."""
    target_noise: float = Field(ge=0)
    """Deviation of the noise on the target's action, as a share of half the action range."""
    target_noise_clip: float = Field(ge=0)
    """Largest noise on the target's action, in the same unit."""
    exploration_noise: float = Field(ge=0)
    """Deviation of the noise on actions in training, in the same unit."""
    critic_learning_rate: float = Field(gt=0)
    """Learning rate of the critics."""
    actor_learning_rate: float = Field(gt=0)
    """Learning rate of the policy."""
    adam: AdamConfig
    """Optimiser of critics and policy: Adam."""
    normalise_observations: bool | tuple[str, ...]
    """Normalisation by running mean and deviation: true, false or names of terms."""

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: the paper's."""
        return {
            "name": "td3",
            "network": {"name": trunk_for(spec)},
            "discount": 0.99,
            "tau": 0.005,
            "policy_delay": 2,
            "target_noise": 0.2,
            "target_noise_clip": 0.5,
            "exploration_noise": 0.1,
            "critic_learning_rate": budget.learning_rate,
            "actor_learning_rate": budget.learning_rate,
            "normalise_observations": False,
        }

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        budget = Budget(1000, learning_rate=1e-3)
        network = {"name": "mlp", "hidden_dims": [16, 16]}
        changes = {"network": network, "discount": 0.97, "adam": AdamConfig.preset(None, budget)}
        return cls.parse(cls.preset(None, budget) | changes)

    def build(self, spec: EnvSpec, seed: int) -> "TD3":
        """Return a fresh learner for a task; a trunk that cannot take its observations is a ConfigError."""
        return TD3(self, spec, seed)


class LastUpdate(NamedTuple):
    """Values of one update, kept by reference: a description costs nothing unless it is asked for."""

    q_values: FloatArray
    """Of the batch. Shape (2, B)."""
    targets: FloatArray
    """Shape (B,)."""
    critic_gradient_norm: Callable[[], float]
    """Euclidean norm over all parameters of both critics, computed when it is called."""
    new_q_values: FloatArray | None
    """The first critic's values of the policy's actions; None if the update moved no policy. Shape (B,)."""
    actions: FloatArray | None
    """These actions. Shape (B, action_dim)."""

    def describe(self) -> dict[str, float]:
        """Return the metrics of the update."""
        errors = self.q_values.astype(np.float64) - self.targets
        metrics = {
            "critic/loss": float(np.square(errors).mean(axis=1).sum()),
            "critic/q_mean": float(self.q_values.mean()),
            "critic/target_mean": float(self.targets.mean()),
            "critic/gradient_norm": self.critic_gradient_norm(),
        }
        if self.new_q_values is not None and self.actions is not None:
            metrics["actor/loss"] = -float(self.new_q_values.mean())
            metrics["actor/saturation"] = float((np.abs(self.actions) > _SATURATED).mean())
        return metrics


class TD3(ActorCritic):
    """The learner: a deterministic policy, two stacked critics, and slow copies of all three."""

    native: ClassVar[str] = "sacpipe.algorithms.td3_native:NativeTD3"
    """Update composed of kernels, for the engine `native`."""

    def __init__(self, config: TD3Config, spec: EnvSpec, seed: int) -> None:
        self.config = config
        names = normalised_names(spec, config.normalise_observations)
        tree = {"trunk": config.network.as_tree(), "normalised_terms": seen_by_policy(spec, names)}
        kind = DeterministicConfig.parse(tree, where="algorithm")
        super().__init__(config, spec, seed, kind, num_critics=2, normalised_terms=names)
        self.target_actor = copy.deepcopy(self.actor.network).requires_grad_(False)
        self.target_critic = copy.deepcopy(self.critic).requires_grad_(False)
        self._critic_parameters: list[torch.Tensor] = list(self.critic.parameters())
        self._actor_parameters: list[torch.Tensor] = list(self.actor.parameters())
        self.optimisers = {
            "critic": Adam(self._critic_parameters, config.adam, config.critic_learning_rate),
            "actor": Adam(self._actor_parameters, config.adam, config.actor_learning_rate),
        }
        self._keep_state(
            {"target_actor": self.target_actor, "target_critic": self.target_critic},
            self.optimisers,
        )
        self.last: LastUpdate | None = None
        """Values of the last update; an engine that replaces `update` sets it too."""

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1], with exploration noise if there is a generator; see `Learner.act`."""
        action = self.actor.act(observation, None)
        if generator is None:
            return action
        noise = generator.standard_normal(len(action), dtype=np.float32)
        return np.clip(action + np.float32(self.config.exploration_noise) * noise, -1.0, 1.0)

    def begin_with(self, weights: Arrays) -> None:
        """Take the weights of another learner; the slow copy of a policy alone is the policy."""
        super().begin_with(weights)
        if not any(name.startswith("target_actor/") for name in weights):
            self.target_actor.load_state_dict(self.actor.network.state_dict())

    def update(self, batch: Batch) -> None:
        """Make one step of the critics and, every `policy_delay` steps, of policy and targets."""
        targets = self._targets(batch)
        q_values = self.critic(self.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions))
        errors = q_values - targets
        refuse_non_finite(
            "critic error (value minus target)", errors.detach().numpy(), self.gradient_steps + 1
        )
        loss = weighted(errors, weights_of(batch)).mean(dim=1).sum()
        gradients = torch.autograd.grad(loss, self._critic_parameters)
        self.optimisers["critic"].step(gradients, self.gradient_steps)
        self.gradient_steps += 1
        values = actions = None
        if self.gradient_steps % self.config.policy_delay == 0:
            values, actions = self._step_policy(batch)
            self._step_targets()
        found = q_values.detach().numpy()
        self.last = LastUpdate(found, targets.numpy(), norm_of(gradients), values, actions)

    def draw_noise(self, batch_size: int) -> FloatArray:
        """Draw the noise of an update's target actions, before it is scaled. Shape (B, action_dim)."""
        return self._noise.standard_normal((batch_size, self.spec.action_dim), dtype=np.float32)

    @torch.no_grad()
    def _targets(self, batch: Batch) -> torch.Tensor:
        """Return y = r + discount min Q'(s', a') with a' = clip(pi'(s') + clip(noise)), eq. 10 and 14."""
        config, noise = self.config, torch.from_numpy(self.draw_noise(len(batch.rewards)))
        smooth = (config.target_noise * noise).clamp_(-config.target_noise_clip, config.target_noise_clip)
        inputs = self.actor.normalised(self.actor.inputs.of(batch.next_observations))
        actions = torch.tanh(self.target_actor(inputs)).add_(smooth).clamp_(-1.0, 1.0)
        values: torch.Tensor = self.target_critic(
            self.critic_inputs.of(batch.next_observations), actions
        ).amin(dim=0)
        return values.mul_(torch.from_numpy(batch.discounts)).add_(torch.from_numpy(batch.rewards))

    def _step_policy(self, batch: Batch) -> tuple[FloatArray, FloatArray]:
        """Ascend the first critic's value of the policy's actions; return these values and actions."""
        actions = torch.tanh(self.actor.output(self.actor.inputs.of(batch.observations)))
        values = self.critic.first(self.critic_inputs.of(batch.observations), actions)
        refuse_non_finite("value of the policy's action", values.detach().numpy(), self.gradient_steps)
        gradients = torch.autograd.grad(-values.mean(), self._actor_parameters)
        self.optimisers["actor"].step(gradients, self.gradient_steps - 1)
        return values.detach().numpy(), actions.detach().numpy()

    @torch.no_grad()
    def _step_targets(self) -> None:
        pairs = ((self.target_critic, self._critic_parameters), (self.target_actor, self._actor_parameters))
        for target, parameters in pairs:
            move_targets(list(target.parameters()), parameters, self.config.tau)

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        if self.last is None:
            raise ValueError("there was no update to describe yet")
        return self.last.describe()

    def td_errors(self) -> FloatArray:
        """Return the absolute TD errors of the last update; see `LearnerWithErrors`."""
        if self.last is None:
            raise ValueError("there was no update yet")
        return mean_td_errors(self.last.q_values, self.last.targets)
