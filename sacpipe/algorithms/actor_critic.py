"""What learners with a policy and stacked critics have in common; an algorithm adds its update."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.base import Arrays, EvaluatedEpisode
from sacpipe.core.errors import CheckpointError
from sacpipe.core.seeding import generator, generator_state, restore_generator, stream_seed
from sacpipe.networks.critic import StackedCritic
from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.normaliser import make_normaliser
from sacpipe.networks.policies import PolicyConfig
from sacpipe.networks.policies.base import PolicyNetwork
from sacpipe.networks.policy_file import Policy, make_policy
from sacpipe.networks.trunks import TrunkSection
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

VALUE_BIAS = {
    "critic/value_bias": Metric(
        "reward",
        "Lowest critic's value of the first step minus the discounted return that followed; mean over "
        "episodes.",
    )
}


def value_bias(
    episodes: Sequence[EvaluatedEpisode], value: Callable[[Observation, FloatArray], float], discount: float
) -> dict[str, float]:
    """Return the mean bias over episodes, under its name.

    Args:
        episodes: At least one.
        value: Of an observation and an action.
        discount: Per step.
    """
    biases = []
    for episode in episodes:
        discounted_return = 0.0
        for reward in reversed(episode.rewards):
            discounted_return = reward + discount * discounted_return
        biases.append(value(episode.observation, episode.action) - discounted_return)
    return {"critic/value_bias": sum(biases) / len(biases)}


class LearnerState:
    """Copies the tensors of modules and optimisers and the state of a random stream out and in.

    Args:
        modules: By name.
        optimisers: By name.
        stream: Of the learner's own noise.
        tensors: Others, by name.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        optimisers: Mapping[str, Adam],
        stream: np.random.Generator,
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self._modules, self._optimisers, self._stream = modules, optimisers, stream
        self._others = tensors or {}

    def _tensors(self) -> Iterator[tuple[str, torch.Tensor]]:
        for owner, module in self._modules.items():
            for name, tensor in module.state_dict().items():
                yield f"{owner}/{name}", tensor
        for name, tensor in self._others.items():
            yield name, tensor.detach()
        for owner, optimiser in self._optimisers.items():
            for name, tensor in optimiser.tensors():
                yield f"adam/{owner}/{name}", tensor

    def arrays(self, gradient_steps: int) -> Arrays:
        """Return copies of everything."""
        arrays: Arrays = {name: tensor.detach().numpy().copy() for name, tensor in self._tensors()}
        arrays["noise"] = generator_state(self._stream)
        arrays["gradient_steps"] = np.array(gradient_steps, dtype=np.int64)
        return arrays

    def restore(self, state: Arrays) -> int:
        """Copy a state in, and return its number of gradient steps.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
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
        for name, tensor in tensors.items():
            tensor.copy_(torch.from_numpy(state[name]))
        restore_generator(self._stream, state["noise"].astype(np.uint64))
        return int(state["gradient_steps"])


_NEW = ("noise", "gradient_steps", "exploration_latent")
"""Arrays of the state that begin anew with other weights, as the optimisers' do; a learner may lack some."""


class ActorCriticConfig(Protocol):
    """Keys of an algorithm's config that an `ActorCritic` reads."""

    metrics: ClassVar[Mapping[str, Metric]]

    @property
    def name(self) -> str:
        """Name in the table, or import path."""
        ...

    @property
    def network(self) -> TrunkSection:
        """Trunk of the policy and of all critics."""
        ...

    @property
    def discount(self) -> float:
        """Discount per step."""
        ...


class CriticInputs:
    """Inputs of a learner's critics.

    Where policy and critics see the same terms, they share the policy's normaliser, else the critics have one
    of their own.

    Args:
        spec: Of the task.
        policy: The learner's.
        normalised_terms: Names of the terms that are normalised.
    """

    def __init__(self, spec: EnvSpec, policy: PolicyNetwork, normalised_terms: tuple[str, ...]) -> None:
        self.group = GroupInputs(spec, "critic")
        self.is_shared = self.group.vector_terms == policy.inputs.vector_terms
        """Whether policy and critics see the same vector."""
        self.own_normaliser = None if self.is_shared else make_normaliser(self.group, normalised_terms)
        self.normaliser = policy.normaliser if self.is_shared else self.own_normaliser

    def of(self, observations: Observation) -> Inputs:
        """Return B observations as the critics take them."""
        inputs = self.group.of(observations)
        if self.normaliser is None:
            return inputs
        return inputs._replace(vector=self.normaliser(inputs.vector))

    def observe(self, observation: Observation) -> None:
        """Take one training observation into the critics' own normaliser, if there is one."""
        if self.own_normaliser is not None:
            self.own_normaliser.observe(observation.group("critic"))


class ActorCritic:
    """A learner without `act` and its update: networks, noise, state, and the bias of its values.

    All weights are drawn from one stream, the policy's first. An algorithm makes its optimisers and the slow
    copies of its networks, and then calls `_keep_state`.

    Args:
        config: Of the algorithm.
        spec: Of the task.
        seed: Of the weights and of the learner's noise.
        kind: Of the policy.
        num_critics: Q-functions in the stack.
        normalised_terms: Names of the terms that are normalised.

    Raises:
        ConfigError: the trunk cannot take the task's observations.
    """

    actor: PolicyNetwork
    """Network of the policy."""
    _state: LearnerState

    def __init__(
        self,
        config: ActorCriticConfig,
        spec: EnvSpec,
        seed: int,
        kind: PolicyConfig,
        *,
        num_critics: int,
        normalised_terms: tuple[str, ...] = (),
    ) -> None:
        self.spec, self.discount, self.gradient_steps = spec, config.discount, 0
        self._config = config
        self._noise = generator(seed, "learner/noise")
        self._policy = make_policy(kind, spec, config.name)
        self.actor = self._policy.network
        self.critic_inputs = CriticInputs(spec, self.actor, normalised_terms)
        self.critic = self._make_critic(config.network, num_critics)
        init = torch.Generator().manual_seed(stream_seed(seed, "learner/init"))
        self.actor.reset(init)
        self.critic.network.reset(init)

    def _make_critic(self, trunk: TrunkSection, num_critics: int) -> StackedCritic:
        """Return the critics, whose parameters are not drawn yet; an algorithm may have others."""
        return StackedCritic(trunk, self.critic_inputs.group, self.spec.action_dim, num_critics)

    def _keep_state(
        self,
        copies: Mapping[str, nn.Module],
        optimisers: Mapping[str, Adam],
        tensors: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        """Let the state have the networks, their slow copies, optimisers and other tensors."""
        modules: dict[str, nn.Module] = {"actor": self.actor, "critic": self.critic, **copies}
        if self.critic_inputs.own_normaliser is not None:
            modules["critic_normaliser"] = self.critic_inputs.own_normaliser
        self._state = LearnerState(modules, optimisers, self._noise, tensors)

    def metrics(self) -> dict[str, Metric]:
        """Return unit and meaning of every metric, from the section."""
        return dict(self._config.metrics)

    def draw_key(self) -> NDArray[np.uint32]:
        """Draw the key of an update's noise, for an engine whose kernels make the numbers. Shape (2,)."""
        return self._noise.integers(0, 1 << 32, 2, dtype=np.uint32)

    def observe(self, observation: Observation) -> None:
        """Take one training observation into the normalisers."""
        self.actor.observe(observation)
        self.critic_inputs.observe(observation)

    def describe_episodes(self, episodes: Sequence[EvaluatedEpisode]) -> dict[str, float]:
        """Return the bias of the critics' values; see `value_bias`."""
        return value_bias(episodes, self.value, self.discount)

    @torch.no_grad()
    def value(self, observation: Observation, action: FloatArray) -> float:
        """Return the lowest critic's value of one action, in task units of reward."""
        inputs = self.critic_inputs.of(observation.rows(None))
        return float(self.critic(inputs, torch.from_numpy(action[None])).min())

    def policy(self) -> Policy:
        """Return the policy as it leaves training."""
        return self._policy

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies."""
        return self._state.arrays(self.gradient_steps)

    def begin_with(self, weights: Arrays) -> None:
        """Take the weights of another learner; optimisers, noise and counters stay those of a new one.

        Args:
            weights: Arrays of its `state()`: those of the policy (`actor/...`), or all.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
        own = self.state()
        policy_alone = all(name.startswith("actor/") for name in weights)
        kept = {name for name in own if name in _NEW or name.startswith("adam/")}
        if policy_alone:
            kept |= {name for name in own if not name.startswith("actor/")}
        taken = {
            name: array
            for name, array in weights.items()
            if name not in _NEW and not name.startswith("adam/")
        }
        self.load_state({name: own[name] for name in kept} | taken)

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`; see `Learner.load_state`."""
        self.gradient_steps = self._state.restore(state)
