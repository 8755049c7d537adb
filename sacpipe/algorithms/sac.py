"""Soft Actor-Critic with automatic temperature (Haarnoja et al. 2018, arXiv:1812.05905).

Order of an update, as in Softlearning: critics, actor, temperature, targets. Differences from the
paper are params: `actor_q` and `temperature.objective` (see losses.py).
"""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.base import Arrays
from sacpipe.algorithms.losses import actor_loss, critic_loss, soft_td_target, temperature_loss
from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError, DivergenceError
from sacpipe.core.records import Batch, EnvSpec, FloatArray
from sacpipe.core.seeding import generator, generator_state, restore_generator, stream_seed
from sacpipe.networks.critic import StackedCritic
from sacpipe.networks.policy_file import Policy, PolicyHeader, build_actor


class AutomaticTemperature(Config):
    """A temperature learned so that the policy's entropy stays at a target."""

    mode: Literal["automatic"]
    initial: float = Field(gt=0)
    learning_rate: float = Field(gt=0)
    objective: Literal["log_temperature", "temperature"]
    """What the entropy gap is multiplied by; see losses.temperature_loss."""
    target_entropy_per_dimension: float
    """Target entropy in nats divided by the number of action dimensions; the paper's is -1."""


class FixedTemperature(Config):
    """A constant temperature."""

    mode: Literal["fixed"]
    value: float = Field(gt=0)


class SACConfig(Config):
    """Soft Actor-Critic."""

    EXAMPLE: ClassVar[dict[str, Any]] = {
        "name": "sac",
        "hidden_dims": [256, 256],
        "discount": 0.99,
        "tau": 0.005,
        "target_update_interval": 1,
        "num_critics": 2,
        "actor_q": "min",
        "critic_learning_rate": 3e-4,
        "actor_learning_rate": 3e-4,
        "adam_epsilon": 1e-8,
        "log_std_min": -20.0,
        "log_std_max": 2.0,
        "normalise_observations": False,
        "temperature": {
            "mode": "automatic",
            "initial": 1.0,
            "learning_rate": 3e-4,
            "objective": "log_temperature",
            "target_entropy_per_dimension": -1.0,
        },
    }

    name: Literal["sac"]
    hidden_dims: tuple[Annotated[int, Field(ge=1)], ...]
    """Units of each hidden layer, of the actor and of every critic."""
    discount: float = Field(ge=0, lt=1)
    """Per step."""
    tau: float = Field(gt=0, le=1)
    """Share of the critics taken into the target critics at each target update."""
    target_update_interval: int = Field(ge=1)
    """Gradient steps between target updates."""
    num_critics: int = Field(ge=1)
    """Q-functions in the ensemble; the target uses their minimum."""
    actor_q: Literal["min", "mean"]
    """The critics' value in the actor's loss: `min` (the paper) or `mean` (Softlearning's last version)."""
    critic_learning_rate: float = Field(gt=0)
    actor_learning_rate: float = Field(gt=0)
    adam_epsilon: float = Field(gt=0)
    """Added to Adam's denominator; 1e-8 is PyTorch's, 1e-7 was Softlearning's."""
    log_std_min: float
    log_std_max: float
    normalise_observations: bool
    """Whether networks see observations with the running mean and variance taken out."""
    temperature: Annotated[AutomaticTemperature | FixedTemperature, Field(discriminator="mode")]

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        if not self.log_std_min < self.log_std_max:
            raise ValueError(
                f"log_std_min must be below log_std_max, found {self.log_std_min} and {self.log_std_max}"
            )
        return self

    def build(self, spec: EnvSpec, seed: int) -> "SAC":
        """Return a fresh learner for a task."""
        return SAC(self, spec, seed)


class SAC:
    """The learner: a squashed Gaussian actor, stacked critics and their slow copies, a temperature."""

    def __init__(self, config: SACConfig, spec: EnvSpec, seed: int) -> None:
        self.config = config
        self.spec = spec
        self.gradient_steps = 0
        self._noise = generator(seed, "learner/noise")
        self._build_networks(stream_seed(seed, "learner/init"))
        self._build_optimisers()

    def _build_networks(self, seed: int) -> None:
        config, spec = self.config, self.spec
        self.header = PolicyHeader.parse(
            {
                "format_version": 1,
                "kind": "squashed_gaussian",
                "algorithm": config.name,
                "hidden_dims": config.hidden_dims,
                "log_std_bounds": [config.log_std_min, config.log_std_max],
                "normalised": config.normalise_observations,
                "spec": spec.as_tree(),
            }
        )
        self.actor = build_actor(self.header)
        shape = (spec.observation_dim, spec.action_dim, config.hidden_dims, config.num_critics)
        self.critic, self.target_critic = StackedCritic(*shape), StackedCritic(*shape)
        init = torch.Generator().manual_seed(seed)
        self.actor.network.reset(init)
        self.critic.network.reset(init)
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.target_critic.requires_grad_(False)
        self._targets: list[torch.Tensor] = list(self.target_critic.parameters())
        self._critics: list[torch.Tensor] = list(self.critic.parameters())
        self._actors: list[torch.Tensor] = list(self.actor.parameters())

    def _build_optimisers(self) -> None:
        config, rule = self.config, self.config.temperature
        automatic = isinstance(rule, AutomaticTemperature)
        start = rule.initial if isinstance(rule, AutomaticTemperature) else rule.value
        self.log_temperature = nn.Parameter(torch.tensor(start).log(), requires_grad=automatic)
        self._optimisers = {
            "critic": self._adam(self._critics, config.critic_learning_rate),
            "actor": self._adam(self._actors, config.actor_learning_rate),
        }
        if isinstance(rule, AutomaticTemperature):
            self._optimisers["temperature"] = self._adam([self.log_temperature], rule.learning_rate)

    def _adam(self, parameters: list[torch.Tensor], learning_rate: float) -> Adam:
        return Adam(parameters, learning_rate=learning_rate, epsilon=self.config.adam_epsilon)

    @property
    def target_entropy(self) -> float:
        """In nats; 0 where the temperature is fixed and nothing steers towards it."""
        rule = self.config.temperature
        per_dimension = rule.target_entropy_per_dimension if isinstance(rule, AutomaticTemperature) else 0.0
        return per_dimension * self.spec.action_dim

    def act(self, observation: FloatArray, noise: FloatArray | None) -> FloatArray:
        """Return one action in [-1, 1]; see `Learner.act`."""
        return self.actor.act(observation, noise)

    def observe(self, observation: FloatArray) -> None:
        """Take one training observation into the normaliser."""
        if self.actor.normaliser is not None:
            self.actor.normaliser.observe(observation)

    def update(self, batch: Batch) -> dict[str, float]:
        """Make one step of critics, actor, temperature and targets; see `Learner.update`."""
        observations = torch.from_numpy(batch.observations)
        next_observations = torch.from_numpy(batch.next_observations)
        size = (len(batch.rewards), self.spec.action_dim)
        noise = torch.from_numpy(self._noise.standard_normal((2, *size), dtype=np.float32))
        with torch.no_grad():
            temperature = self.log_temperature.exp()
        metrics = self._update_critic(batch, observations, next_observations, noise[0], temperature)
        log_probs, actor_metrics = self._update_actor(observations, noise[1], temperature)
        metrics |= actor_metrics | self._update_temperature(log_probs)
        self.gradient_steps += 1
        if self.gradient_steps % self.config.target_update_interval == 0:
            torch._foreach_lerp_(self._targets, self._critics, self.config.tau)
        return metrics

    def _seen(self, observations: torch.Tensor) -> torch.Tensor:
        """Return observations as the critics see them."""
        return observations if self.actor.normaliser is None else self.actor.normaliser(observations)

    def _update_critic(
        self,
        batch: Batch,
        observations: torch.Tensor,
        next_observations: torch.Tensor,
        noise: torch.Tensor,
        temperature: torch.Tensor,
    ) -> dict[str, float]:
        with torch.no_grad():
            next_actions, next_log_probs = self.actor.sample(next_observations, noise)
            targets = soft_td_target(
                torch.from_numpy(batch.rewards),
                torch.from_numpy(batch.terminations),
                self.target_critic(self._seen(next_observations), next_actions),
                next_log_probs,
                discount=self.config.discount,
                temperature=temperature,
            )
        q_values = self.critic(self._seen(observations), torch.from_numpy(batch.actions))
        loss = critic_loss(q_values, targets)
        self._descend("critic", loss, self._critics)
        return {
            "critic/loss": loss.item(),
            "critic/q_mean": q_values.detach().mean().item(),
            "critic/target_mean": targets.mean().item(),
            "critic/td_error_std": (q_values.detach() - targets).std(correction=0).item(),
        }

    def _update_actor(
        self, observations: torch.Tensor, noise: torch.Tensor, temperature: torch.Tensor
    ) -> tuple[torch.Tensor, dict[str, float]]:
        actions, log_probs = self.actor.sample(observations, noise)
        q_values = self.critic(self._seen(observations), actions)
        loss = actor_loss(log_probs, q_values, temperature=temperature, actor_q=self.config.actor_q)
        self._descend("actor", loss, self._actors)
        log_probs = log_probs.detach()
        return log_probs, {"actor/loss": loss.item(), "actor/entropy_nats": -log_probs.mean().item()}

    def _update_temperature(self, log_probs: torch.Tensor) -> dict[str, float]:
        rule = self.config.temperature
        if isinstance(rule, FixedTemperature):
            return {"temperature/value": rule.value}
        loss = temperature_loss(
            self.log_temperature, log_probs, target_entropy=self.target_entropy, objective=rule.objective
        )
        self._descend("temperature", loss, [self.log_temperature])
        return {"temperature/loss": loss.item(), "temperature/value": self.log_temperature.exp().item()}

    def _descend(self, name: str, loss: torch.Tensor, parameters: list[torch.Tensor]) -> None:
        """Step one optimiser; only these parameters get a gradient."""
        if not torch.isfinite(loss):
            raise DivergenceError(
                f"{name} loss is {loss.item()} at gradient step {self.gradient_steps + 1}; a finite number "
                "was expected. Lower the learning rates, or look at the task's rewards and observations."
            )
        self._optimisers[name].step(torch.autograd.grad(loss, parameters))

    def policy(self) -> Policy:
        """Return the actor as it leaves training."""
        return Policy(self.actor, self.header)

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Name every tensor that an update reads or writes."""
        modules = {"actor": self.actor, "critic": self.critic, "target_critic": self.target_critic}
        for owner, module in modules.items():
            for name, tensor in module.state_dict().items():
                yield f"{owner}/{name}", tensor
        yield "log_temperature", self.log_temperature.data
        for owner, optimiser in self._optimisers.items():
            for name, tensor in optimiser.tensors():
                yield f"adam/{owner}/{name}", tensor

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies."""
        arrays: Arrays = {name: tensor.detach().numpy().copy() for name, tensor in self._tensors()}
        arrays["noise"] = generator_state(self._noise)
        arrays["gradient_steps"] = np.array(self.gradient_steps, dtype=np.int64)
        return arrays

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`; see `Learner.load_state`."""
        tensors = dict(self._tensors())
        expected = {*tensors, "noise", "gradient_steps"}
        if expected != state.keys():
            raise CheckpointError(
                f"learner state: expected and found differ in {sorted(expected ^ state.keys())}."
            )
        for name, tensor in tensors.items():
            if tuple(tensor.shape) != state[name].shape:
                raise CheckpointError(
                    f"learner state: {name} has shape {state[name].shape}, expected {tuple(tensor.shape)}."
                )
            tensor.copy_(torch.from_numpy(state[name]))
        restore_generator(self._noise, state["noise"].astype(np.uint64))
        self.gradient_steps = int(state["gradient_steps"])
