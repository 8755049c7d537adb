"""Hindsight goals (Andrychowicz et al. 2017, arXiv:1707.01495): what an episode reached becomes its goal.

In a share of the rows, the goal that some transition's next observation achieved replaces the desired goal,
before and after the step; the task computes reward and termination for it again. Every row is one transition,
so no row goes beyond an end of an episode, and goals of `final`, `future` and `episode` are of the row's own
episode; of the running episode they reach up to its newest transition.
"""

from collections.abc import Callable
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sacpipe.core.errors import ConfigError
from sacpipe.replay.samplers.base import Gathering, Sampler, SamplerConfig, SamplerContext
from sacpipe.replay.view import BufferView, Rows
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, RecordedRewards

Strategy = Literal["final", "future", "episode", "random"]


class HindsightConfig(SamplerConfig):
    """Uniform draws, with goals that were reached in place of the desired ones."""

    name: Literal["hindsight"]
    """Name of the sampler."""
    strategy: Strategy
    """Transition that achieved the new goal: last of the episode `final` or a later one `future`; any of the
    `episode` or of the whole buffer `random`."""
    relabelled_share: float = Field(ge=0, le=1)
    """Probability that a row's goal is replaced; 0.8 is four new goals for each recorded one."""

    batch_copies: ClassVar[int] = 2  # goals, and the rows before and after the step that get them

    @classmethod
    def preset(cls, _spec: EnvSpec, _budget: Budget) -> dict[str, Any]:
        """Return the paper's best: `future` with four goals."""
        return {"strategy": "future", "relabelled_share": 0.8}

    def build_from(self, context: SamplerContext) -> Sampler:
        """Return a sampler for one buffer.

        Raises:
            ConfigError: the task has no terms of both goals, or computes no rewards of recorded steps.
        """
        pairs = goal_pairs(context.spec)
        return Hindsight(self, context.spec, context.discount, pairs, context.require_rewards())

    @classmethod
    def example(cls) -> Self:
        """Return the paper's best."""
        return cls(name="hindsight", strategy="future", relabelled_share=0.8)


def goal_pairs(spec: EnvSpec) -> list[tuple[str, str]]:
    """Return the terms of achieved and desired goals in pairs, in the order of the task.

    Raises:
        ConfigError: a term has no counterpart of its shape and type, or there is none at all.
    """
    achieved = [term for term in spec.observation if "achieved_goal" in term.groups]
    desired = [term for term in spec.observation if "desired_goal" in term.groups]
    kinds = [[(term.shape, term.dtype) for term in terms] for terms in (achieved, desired)]
    if not achieved or kinds[0] != kinds[1]:
        names = [", ".join(f"'{term.name}'" for term in terms) or "none" for terms in (achieved, desired)]
        raise ConfigError(
            "expected terms of the groups achieved_goal and desired_goal in pairs of one shape and type, "
            f"found {names[0]} and {names[1]} in {spec.task}. Use a task with goals, or "
            "`sampler: {name: uniform}`"
        )
    return [(one.name, other.name) for one, other in zip(achieved, desired, strict=True)]


def _final(view: BufferView, _generator: np.random.Generator, rows: Rows) -> Rows:
    return view.later(rows, view.steps_to_end(rows))


def _future(view: BufferView, generator: np.random.Generator, rows: Rows) -> Rows:
    return view.later(rows, generator.integers(0, view.steps_to_end(rows) + 1))


def _episode(view: BufferView, generator: np.random.Generator, rows: Rows) -> Rows:
    steps = generator.integers(-view.steps_since_start(rows), view.steps_to_end(rows) + 1)
    return view.later(rows, steps)


def _random(view: BufferView, generator: np.random.Generator, rows: Rows) -> Rows:
    return generator.integers(0, len(view), size=len(rows))


_STRATEGIES: dict[Strategy, Callable[[BufferView, np.random.Generator, Rows], Rows]] = {
    "final": _final,
    "future": _future,
    "episode": _episode,
    "random": _random,
}
"""Rows of the transitions whose achieved goals the rows get; section 4.5 of the paper."""


class Hindsight(Gathering):
    """Draws as `uniform` draws, then replaces goals. See `HindsightConfig`.

    Args:
        config: Strategy and share.
        spec: Task of the transitions.
        discount: Discount per step.
        pairs: Names of achieved and desired goals.
        compute_rewards: Of the task.
    """

    def __init__(
        self,
        config: HindsightConfig,
        spec: EnvSpec,
        discount: float,
        pairs: list[tuple[str, str]],
        compute_rewards: RecordedRewards,
    ) -> None:
        self._find_goals, self._share = _STRATEGIES[config.strategy], config.relabelled_share
        super().__init__(spec, discount)
        self._pairs, self._compute_rewards = pairs, compute_rewards

    def __call__(self, view: BufferView, generator: np.random.Generator, n: int) -> Batch:
        """Draw a batch."""
        self._fit(n)
        rows = generator.integers(0, len(view), size=n)
        chosen = np.flatnonzero(generator.random(n) < self._share)
        found = view.gather(rows, out=self._gathered)
        if len(chosen):
            reached = view.next_observations(self._find_goals(view, generator, rows[chosen]))
            for observations in (found.observations, found.next_observations):
                self._set_goals(observations, chosen, reached)
            rewards, terminations = self._compute_rewards(
                found.observations.rows(chosen), found.actions[chosen], found.next_observations.rows(chosen)
            )
            found.rewards[chosen] = rewards
            found.terminations[chosen] = terminations > 0
        self._set_discounts()
        return self._batch

    def relabelled(self, observation: Observation) -> Observation:
        """Return one observation with its achieved goal as the desired one.

        The normaliser's statistics of a goal are then those of desired and achieved goals together. Those of
        desired goals alone would put achieved ones out of range where a task always asks for the same.
        """
        found = observation.copy()
        self._set_goals(found, ..., observation)
        return found

    def _set_goals(self, observations: Observation, rows: Any, reached: Observation) -> None:
        for achieved, desired in self._pairs:
            target: NDArray[Any] = observations[desired]
            target[rows] = reached[achieved]
