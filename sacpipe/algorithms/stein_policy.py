"""Learning a sampling network for given critics by Stein variational gradient descent.

Haarnoja et al. 2017, arXiv:1702.08165, section 3.3, with the gradient of stein.py. Algorithms add what their
critics are.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Self, cast

import numpy as np
import torch
from pydantic import Field, model_validator

from sacpipe.algorithms.actor_critic import ActorCritic, ActorCriticConfig
from sacpipe.algorithms.adam import Adam, AdamConfig
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.losses import norm_of
from sacpipe.algorithms.stein import score_before_tanh, stein_direction
from sacpipe.core.config import Config
from sacpipe.networks.normaliser import normalised_names, seen_by_policy
from sacpipe.networks.policies.sampling_network import SamplingNetworkConfig, SamplingNetworkPolicy
from sacpipe.networks.trunks import RegisteredTrunk, trunk_for
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

_SATURATED = 0.99

PARTICLES = {
    "particles/q_mean": Metric("reward", "Mean lowest critic's value of the policy's actions."),
    "particles/spread": Metric(
        "half range", "Deviation of an observation's actions, root of the mean variance; 0.577 if uniform."
    ),
    "particles/saturation": Metric("share", "Share of these actions beyond 0.99 of their range."),
    "particles/bandwidth": Metric("1", "Mean bandwidth of the kernel, a squared distance before tanh."),
    "particles/stein_norm": Metric(
        "1", "Mean length of the Stein direction before tanh; few particles keep it from vanishing."
    ),
    "particles/gradient_norm": Metric("1", "Euclidean norm of the policy's gradient, all parameters."),
}


class SteinPolicyConfig(Config):
    """Keys of every algorithm whose policy is a sampling network; an algorithm adds `discount`."""

    name: str
    network: RegisteredTrunk
    """Trunk of the policy and of every critic."""
    num_critics: int = Field(ge=1)
    """Q-functions in the ensemble; targets and policy use their minimum."""
    num_particles: int = Field(ge=3)
    """Actions of the policy for each observation of a batch in its gradient."""
    updated_share: float = Field(gt=0, lt=1)
    """Share of these that are moved, by the kernel with the others."""
    min_bandwidth: float = Field(gt=0)
    """Smallest bandwidth of the kernel, a squared distance before tanh."""
    noise_dim: int = Field(ge=1, le=10_000)
    """Length of the policy's noise, at least the action's."""
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
        """Return the values of a new params.yaml, without a name."""
        return {
            "network": {"name": trunk_for(spec)},
            "num_critics": 2,
            "num_particles": 16,
            "updated_share": 0.5,
            "min_bandwidth": 1e-3,
            "noise_dim": 2 if spec is None else spec.action_dim,
            "actor_learning_rate": budget.learning_rate,
            "normalise_observations": False,
        }

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        budget = Budget(1000, learning_rate=1e-3)
        changes = {
            "network": {"name": "mlp", "hidden_dims": [16, 16]},
            "num_particles": 5,
            "noise_dim": 3,
            "adam": AdamConfig.preset(None, budget),
        }
        return cls.parse(cls.preset(None, budget) | changes)


class Particles(NamedTuple):
    """What a step of the policy found."""

    actions: FloatArray
    """All particles. Shape (num_particles, B, action_dim)."""
    q_values: FloatArray
    """Lowest critic's values of the fixed particles, in nats. Shape (F, B)."""
    direction_norms: FloatArray
    """Lengths of the Stein directions. Shape (U, B)."""
    bandwidths: FloatArray
    """Of the kernel. Shape (B,)."""
    gradient_norm: Callable[[], float]
    """Of the policy, computed when it is called."""

    def describe(self, reward_scale: float) -> dict[str, float]:
        """Return the metrics of the step.

        Args:
            reward_scale: Nats per unit of the values.
        """
        return {
            "particles/q_mean": float(self.q_values.mean()) / reward_scale,
            "particles/spread": float(np.sqrt(self.actions.var(axis=0, dtype=np.float64).mean())),
            "particles/saturation": float((np.abs(self.actions) > _SATURATED).mean()),
            "particles/bandwidth": float(self.bandwidths.mean()),
            "particles/stein_norm": float(self.direction_norms.mean()),
            "particles/gradient_norm": self.gradient_norm(),
        }


class SteinPolicyLearner(ActorCritic):
    """A learner with a sampling network and critics in nats; an algorithm adds `update` and its state."""

    actor: SamplingNetworkPolicy

    def __init__(self, config: SteinPolicyConfig, spec: EnvSpec, seed: int) -> None:
        self.config = config
        names = normalised_names(spec, config.normalise_observations)
        kind = {
            "trunk": config.network.as_tree(),
            "noise_dim": config.noise_dim,
            "normalised_terms": seen_by_policy(spec, names),
        }
        super().__init__(
            cast("ActorCriticConfig", config),  # `discount` is a key of some algorithms only
            spec,
            seed,
            SamplingNetworkConfig.parse(kind, where="algorithm"),
            num_critics=config.num_critics,
            normalised_terms=names,
        )
        self._actor_parameters: list[torch.Tensor] = list(self.actor.parameters())
        self._actor_optimiser = Adam(self._actor_parameters, config.adam, config.actor_learning_rate)

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1], for noise of zeros if there is no generator; see `Learner.act`."""
        return self.actor.act(observation, generator)

    def _draw_noise(self, batch_size: int) -> torch.Tensor:
        """Draw the noise of a policy's step."""
        count = self.config.num_particles * batch_size
        return torch.from_numpy(self._noise.standard_normal((count, self.config.noise_dim), dtype=np.float32))

    def _step_policy(self, batch: Batch, noise: torch.Tensor) -> Particles:
        """Move the policy along the Stein direction of its updated particles, eq. 13 and 14.

        Args:
            batch: B transitions.
            noise: Standard normal random numbers. Shape (num_particles x B, noise_dim).
        """
        config, size, step = self.config, len(batch.rewards), self.gradient_steps + 1
        inputs = self.actor.normalised(self.actor.inputs.of(batch.observations))
        particles = self.actor.unsquashed(inputs.repeated(config.num_particles), noise)
        by_particle = particles.view(config.num_particles, size, -1)
        updated, fixed = by_particle[: config.num_updated], by_particle[config.num_updated :].detach()
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
        self._actor_optimiser.step(gradients, self.gradient_steps)
        shown = torch.tanh(particles.detach()).view(config.num_particles, size, -1)
        return Particles(
            shown.numpy(), lowest.detach().numpy(), norms.numpy(), bandwidths.numpy(), norm_of(gradients)
        )
