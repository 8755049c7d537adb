"""The protocols of an algorithm's config and of a learner; `sacpipe.testing.learners` tests them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.networks.policy_file import Policy, PolicyHeader
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray

Arrays = dict[str, NDArray[np.generic]]


def part_of(arrays: Arrays, prefix: str) -> Arrays:
    """Return the arrays whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


class EvaluatedEpisode(NamedTuple):
    """What a learner may describe of an episode of its deterministic policy."""

    observation: Observation
    """First observation."""
    action: FloatArray
    """First action, in [-1, 1]. Shape (action_dim,)."""
    rewards: tuple[float, ...]
    """Reward of every step, in task units."""


class Weights(NamedTuple):
    """Weights of an earlier run."""

    header: PolicyHeader
    """Of its policy."""
    arrays: Arrays
    """By their names in `Learner.state()`; only those of the policy where the source is a policy file."""
    is_whole: bool
    """Whether the source is a checkpoint."""


class Learner(Protocol):
    """Owns networks, optimisers and its noise; returns numbers and logs nothing.

    A learner may also be an `Explorer`; that of a section which `NeedsWeights` has `take_weights`.
    """

    gradient_steps: int
    """Updates so far."""

    @property
    def discount(self) -> float:
        """Discount per step; samplers multiply it into the batch."""
        ...

    def act(self, observation: Observation, generator: np.random.Generator | None) -> FloatArray:
        """Return one action in [-1, 1]. float32, shape (action_dim,).

        Args:
            observation: Raw.
            generator: Of the exploration noise; None for the deterministic action.
        """
        ...

    def observe(self, observation: Observation) -> None:
        """Take one training observation into the normaliser, if there is one."""
        ...

    def update(self, batch: Batch) -> None:
        """Make one gradient step.

        Raises:
            DivergenceError: a value is not finite; the network it belongs to is left as it was.
        """
        ...

    # A learner may offer `td_errors` too: see `LearnerWithErrors` in td_errors.py.

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update, under names of `metrics`; costs nothing unless it is called.

        Raises:
            ValueError: there was no update yet.
        """
        ...

    def metrics(self) -> dict[str, Metric]:
        """Return unit and meaning of every name; `{i}` stands for a number."""
        ...

    def describe_episodes(self, episodes: Sequence[EvaluatedEpisode]) -> dict[str, float]:
        """Describe deterministic episodes of an evaluation, under names of `metrics`; {} for no metric."""
        ...

    def policy(self) -> Policy:
        """Return the policy as it leaves training; it shares memory with the learner."""
        ...

    def state(self) -> Arrays:
        """Return everything an exact continuation needs, as copies."""
        ...

    def load_state(self, state: Arrays) -> None:
        """Continue from `state()`.

        Raises:
            CheckpointError: an array is missing, left over, or of another shape.
        """
        ...


class Explorer(Protocol):
    """What a learner has besides, whose training actions depend on earlier ones of the episode."""

    def explore(self, observation: Observation, generator: np.random.Generator) -> FloatArray:
        """Return one training action, as `Learner.act` does; what it remembers is a part of the state."""
        ...

    def end_episode(self) -> None:
        """Forget the episode; called after its last step, and not before the first episode."""
        ...


class NeedsWeights(Protocol):
    """What an algorithm's config has besides, whose learner has parts of earlier runs."""

    def needed_weights(self) -> Mapping[str, str]:
        """Return SHA-256 of policy.safetensors, or of a checkpoint's state.json, by key in params.yaml."""
        ...


class TakesWeights(Protocol):
    """The learner of a section that `NeedsWeights`."""

    def take_weights(self, key: str, weights: Weights) -> None:
        """Copy in what a key of `needed_weights` names: of the same task. Called before the first step.

        Raises:
            ConfigError: it cannot take them.
        """
        ...


class AlgorithmSection(Protocol):
    """The `algorithm` section of params.yaml: a subclass of `sacpipe.core.config.Config`."""

    name: str
    """Name in the table, or import path."""

    def build(self, spec: EnvSpec, seed: int) -> Learner:
        """Return a fresh learner for a task.

        Raises:
            ConfigError: it cannot learn this task.
        """
        ...

    @classmethod
    def example(cls) -> Self:
        """Return a small config for the contract test."""
        ...

    def as_tree(self) -> dict[str, Any]:
        """Return the config as plain JSON values."""
        ...
