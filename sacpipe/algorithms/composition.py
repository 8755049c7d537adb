"""Composition of learned tasks (Haarnoja et al. 2018, arXiv:1803.06773): a policy for a sum of Q-functions.

Each part is the critic of a finished run with a maximum-entropy algorithm. The critics stay as they are; a
sampling network learns to draw actions with the density exp(sum of weight x Q), by the policy's step of Soft
Q-learning. With weights of one over the number of parts, times one over the temperature of each, it is the
policy of the mean reward, up to a bound that the paper gives (lemma 1). The transitions need observations
only, best those of all parts: see `replay.initial_pool`.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field

from sacpipe.algorithms.base import EvaluatedEpisode, Weights, part_of
from sacpipe.algorithms.divergence import refuse_non_finite
from sacpipe.algorithms.stein_policy import PARTICLES, Particles, SteinPolicyConfig, SteinPolicyLearner
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.networks.critic import StackedCritic
from sacpipe.networks.inputs import GroupInputs, Inputs
from sacpipe.networks.policies.deterministic import DeterministicConfig
from sacpipe.networks.trunks import TrunkSection
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.metric import Metric
from sacpipe.specs.records import Batch

METRICS = PARTICLES | {
    "particles/q_mean": Metric(
        "nats", "Mean of the weighted sum of the parts' values, over the policy's actions."
    )
}


class PartConfig(Config):
    """Critics of a finished run, from a checkpoint in `data/warm_start`."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of the checkpoint's state.json, which has the digest of the arrays."""
    weight: float = Field(gt=0)
    """Nats per unit of its Q-function in the sum: one over the temperature for SAC, 1 for SQL, each times
    the share of the part."""


class CompositionConfig(SteinPolicyConfig):
    """Composition of learned tasks, arXiv:1803.06773."""

    metrics: ClassVar[Mapping[str, Metric]] = METRICS

    name: Literal["composition"]
    num_critics: int = Field(ge=1)
    """Q-functions in the ensemble of each part; a part's value is their minimum."""
    normalise_observations: Literal[False]
    """No normalisation, because parts would each have one of their own: false."""
    parts: tuple[PartConfig, ...] = Field(min_length=1)
    """Runs whose Q-functions are added: {sha256, weight} each."""

    @property
    def discount(self) -> float:
        """Of a batch, from which no reward and no next observation is used: any would do."""
        return 0.0

    @classmethod
    def preset(cls, spec: EnvSpec | None, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml, with two parts whose digests are to be written."""
        part = {"sha256": "0" * 64, "weight": 0.5}
        return super().preset(spec, budget) | {"name": "composition", "parts": [part, part]}

    def needed_weights(self) -> dict[str, str]:
        """Return the digests of the parts; see `NeedsWeights`."""
        return {f"algorithm.parts.{place}.sha256": part.sha256 for place, part in enumerate(self.parts)}

    def build(self, spec: EnvSpec, seed: int) -> "Composition":
        """Return a fresh learner for a task, whose critics are drawn until `take_weights`.

        Raises:
            ConfigError: the trunk cannot take the task's observations, or cannot be written to a policy file.
        """
        return Composition(self, spec, seed)


class SummedCritics(StackedCritic):
    """The critics of all parts in one stack, part after part, without gradients of their parameters."""

    def __init__(
        self,
        trunk: TrunkSection,
        inputs: GroupInputs,
        action_dim: int,
        num_critics: int,
        weights: list[float],
    ) -> None:
        super().__init__(trunk, inputs, action_dim, num_critics * len(weights))
        self._shape = (len(weights), num_critics)
        self._weights = torch.tensor(weights)[:, None]
        self.requires_grad_(False)

    def forward(self, inputs: Inputs, actions: torch.Tensor) -> torch.Tensor:
        """Return the weighted sum of the parts' lowest values, in nats. Shape (1, B)."""
        values = super().forward(inputs, actions)
        lowest = values.view(*self._shape, -1).amin(dim=1)
        return (self._weights * lowest).sum(dim=0, keepdim=True)


class Composition(SteinPolicyLearner):
    """The learner: a sampling network, and the summed critics of the parts, which no update changes."""

    config: CompositionConfig

    def __init__(self, config: CompositionConfig, spec: EnvSpec, seed: int) -> None:
        super().__init__(config, spec, seed)
        self._keep_state({}, {"actor": self._actor_optimiser})
        self._last: Particles | None = None

    def _make_critic(self, trunk: TrunkSection, num_critics: int) -> SummedCritics:
        weights = [part.weight for part in self.config.parts]
        return SummedCritics(trunk, self.critic_inputs.group, self.spec.action_dim, num_critics, weights)

    @torch.no_grad()
    def take_weights(self, key: str, weights: Weights) -> None:
        """Copy the critics of a part in; see `NeedsWeights`.

        Raises:
            ConfigError: the source has no critics, others than the params say, or normalised observations; or
                its values have no entropy in them.
        """
        place = int(re.findall(r"\d+", key)[0])
        count, critics = self.config.num_critics, self.critic.state_dict()
        found = part_of(weights.arrays, "critic/")
        expected = {name: (count, *tensor.shape[1:]) for name, tensor in critics.items()}
        shapes = {name: array.shape for name, array in found.items()}
        if shapes != expected:
            raise ConfigError(
                f"{key}: expected a checkpoint with critics of these params (network, num_critics), of the "
                f"shapes {expected}; found {shapes or 'none'}"
            )
        if any("normaliser" in name for name in weights.arrays):
            raise ConfigError(
                f"{key}: expected a run with normalise_observations: false, found one whose observations are "
                "normalised"
            )
        if weights.header.kind == DeterministicConfig.kind:
            raise ConfigError(
                f"{key}: expected a run of a maximum-entropy algorithm, found '{weights.header.algorithm}', "
                "whose policy is deterministic; its values are no log-density of actions"
            )
        for name, tensor in critics.items():
            tensor[place * count : (place + 1) * count] = torch.from_numpy(found[name])

    def update(self, batch: Batch) -> None:
        """Make one step of the policy; see `Learner.update`. Only observations of the batch matter.

        Raises:
            DivergenceError: a value is not finite, or a reward of the batch.
        """
        refuse_non_finite("reward", batch.rewards, self.gradient_steps + 1)
        self._last = self._step_policy(batch, self._draw_noise(len(batch.rewards)))
        self.gradient_steps += 1

    def describe_episodes(self, episodes: Sequence[EvaluatedEpisode]) -> dict[str, float]:
        """Return nothing: the sum of the parts' values is no return of this run's task."""
        del episodes
        return {}

    def diagnostics(self) -> dict[str, float]:
        """Describe the last update; see `Learner.diagnostics`."""
        if self._last is None:
            raise ValueError("there was no update to describe yet")
        return self._last.describe(1.0)
