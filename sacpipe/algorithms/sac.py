"""Soft Actor-Critic with automatic temperature (Haarnoja et al. 2018, arXiv:1812.05905).

Order of an update, as in Softlearning: critics, actor, temperature, targets. Differences from the
paper are params: `actor_q` and `temperature.objective` (see losses.py).

`reference_update` is the definition, by autograd. `update` is the same by hand (sac_fast.py), and is the one
that training calls.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import nn

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.base import Arrays
from sacpipe.algorithms.losses import actor_loss, critic_loss, soft_td_target, temperature_loss
from sacpipe.algorithms.sac_fast import FastUpdate
from sacpipe.core.config import Config
from sacpipe.core.errors import CheckpointError
from sacpipe.core.seeding import generator, generator_state, restore_generator, stream_seed
from sacpipe.networks.critic import StackedCritic
from sacpipe.networks.mlp import StackedMLP
from sacpipe.networks.passes import pack
from sacpipe.networks.policy_file import Policy, PolicyHeader, build_actor
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import Batch, FloatArray


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
    matmul_precision: Literal["float32", "bfloat16"]
    """Of the networks' products in an update; parameters, optimisers and losses are float32 always."""
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
        self._fast: FastUpdate | None = None
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
        self.target_critic.requires_grad_(False)
        self.target_critic.load_state_dict(self.critic.state_dict())
        self.packed_actor = pack([self.actor.network])
        self.packed_both = pack([self.critic.network, self.target_critic.network])
        """The critics in the first half, their targets in the second."""
        self.packed_critic = [tensor[: config.num_critics] for tensor in self.packed_both]
        self._packed_target = [tensor[config.num_critics :] for tensor in self.packed_both]

    def _build_optimisers(self) -> None:
        config, rule = self.config, self.config.temperature
        automatic = isinstance(rule, AutomaticTemperature)
        start = rule.initial if isinstance(rule, AutomaticTemperature) else rule.value
        self.log_temperature = nn.Parameter(torch.tensor(start).log(), requires_grad=automatic)
        self.optimisers = {
            "critic": self._adam(self.packed_critic, config.critic_learning_rate),
            "actor": self._adam(self.packed_actor, config.actor_learning_rate),
        }
        if isinstance(rule, AutomaticTemperature):
            self.optimisers["temperature"] = self._adam([self.log_temperature], rule.learning_rate)
            self._temperature_gradient = torch.zeros(())

    def _adam(self, parameters: Sequence[torch.Tensor], learning_rate: float) -> Adam:
        return Adam(parameters, learning_rate=learning_rate, epsilon=self.config.adam_epsilon)

    @property
    def target_entropy(self) -> float:
        """Target entropy in nats; 0 if the temperature is fixed."""
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

    def update(self, batch: Batch) -> None:
        """Make one step of critics, actor, temperature and targets; see `Learner.update`."""
        if self._fast is None or self._fast.size != len(batch.rewards):
            self._fast = FastUpdate(
                self,
                len(batch.rewards),
                discount=self.config.discount,
                actor_q=self.config.actor_q,
                matmul_precision=self.config.matmul_precision,
            )
        self._fast.run(batch, self._draw_noise(len(batch.rewards)))
        self._step_temperature(self._fast.log_probs)
        self._finish_step()

    def reference_update(self, batch: Batch) -> None:
        """Make the same step by autograd; see `Learner.reference_update`."""
        noise = torch.from_numpy(self._draw_noise(len(batch.rewards)))
        with torch.no_grad():
            temperature = self.log_temperature.exp()
        self._regress_critics(batch, noise[0], temperature)
        log_probs = self._improve_actor(torch.from_numpy(batch.observations), noise[1], temperature)
        self._adapt_temperature(log_probs)
        self._finish_step()

    def _draw_noise(self, batch_size: int) -> FloatArray:
        return self._noise.standard_normal((2, batch_size, self.spec.action_dim), dtype=np.float32)

    def _finish_step(self) -> None:
        self.gradient_steps += 1
        if self.gradient_steps % self.config.target_update_interval == 0:
            torch._foreach_lerp_(self._packed_target, self.packed_critic, self.config.tau)

    def _step_temperature(self, log_probs: FloatArray) -> None:
        """Descend eq. 18 by hand: its gradient with respect to log alpha."""
        rule = self.config.temperature
        if isinstance(rule, AutomaticTemperature):
            gradient = -(log_probs.mean() + np.float32(self.target_entropy))
            if rule.objective == "temperature":
                gradient *= np.exp(self.log_temperature.detach().numpy())
            self._temperature_gradient.numpy()[...] = gradient
            self.optimisers["temperature"].step([self._temperature_gradient])

    def _seen(self, observations: torch.Tensor) -> torch.Tensor:
        """Return observations as the critics take them: normalised, if the params say so."""
        return observations if self.actor.normaliser is None else self.actor.normaliser(observations)

    def _regress_critics(self, batch: Batch, noise: torch.Tensor, temperature: torch.Tensor) -> None:
        next_observations = torch.from_numpy(batch.next_observations)
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
        observations = self._seen(torch.from_numpy(batch.observations))
        q_values = self.critic(observations, torch.from_numpy(batch.actions))
        self._descend("critic", critic_loss(q_values, targets), self.critic.network)

    def _improve_actor(
        self, observations: torch.Tensor, noise: torch.Tensor, temperature: torch.Tensor
    ) -> torch.Tensor:
        actions, log_probs = self.actor.sample(observations, noise)
        q_values = self.critic(self._seen(observations), actions)
        loss = actor_loss(log_probs, q_values, temperature=temperature, actor_q=self.config.actor_q)
        self._descend("actor", loss, self.actor.network)
        return log_probs.detach()

    def _adapt_temperature(self, log_probs: torch.Tensor) -> None:
        rule = self.config.temperature
        if isinstance(rule, AutomaticTemperature):
            loss = temperature_loss(
                self.log_temperature, log_probs, target_entropy=self.target_entropy, objective=rule.objective
            )
            self.optimisers["temperature"].step(torch.autograd.grad(loss, [self.log_temperature]))

    def _descend(self, name: str, loss: torch.Tensor, network: StackedMLP) -> None:
        """Step one optimiser; only this network's parameters get a gradient."""
        first, first_bias, *others = torch.autograd.grad(loss, list(network.parameters()))
        self.optimisers[name].step([torch.cat([first, first_bias], dim=1), *others])

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        if self._fast is None:
            raise ValueError("there was no update to describe yet")
        metrics = self._fast.diagnostics()
        if isinstance(self.config.temperature, AutomaticTemperature):
            gap = self.target_entropy - metrics["actor/entropy_nats"]
            metrics["temperature/entropy_gap_nats"] = gap
        return metrics

    def value(self, observation: FloatArray, action: FloatArray) -> float:
        """Return the critics' minimum; see `Learner.value`."""
        with torch.no_grad():
            seen = self._seen(torch.from_numpy(observation[None]))
            return float(self.critic(seen, torch.from_numpy(action[None])).min())

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
        for owner, optimiser in self.optimisers.items():
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
