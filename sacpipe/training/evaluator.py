"""Evaluations during training: the same episodes every time, without and with the policy's noise."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from sacpipe.algorithms.base import Learner
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.evaluation.episodes import Episode, evaluate
from sacpipe.specs.records import FloatArray
from sacpipe.training.config import TrainParams
from sacpipe.training.metrics import LineFile

CURVE_HEADER = "env_steps,policy,episode,seed,return,length"
"""Columns of curve.csv, a row an episode."""

_MODES: tuple[Literal["deterministic", "stochastic"], ...] = ("deterministic", "stochastic")


class Evaluator:
    """Runs a learner's policy in an environment that training does not use.

    Args:
        params: Of the run.
        learner: Its policy is evaluated; nothing of it changes.
    """

    def __init__(self, params: TrainParams, learner: Learner) -> None:
        self._params, self._learner = params, learner
        self._environment = params.task.make()
        self.returns: dict[str, float] = {}
        """Mean return of the last evaluation, by policy mode."""

    @property
    def latest_return(self) -> float | None:
        """Mean deterministic return of the last evaluation; None before the first."""
        return self.returns.get("deterministic")

    def evaluate(self, env_steps: int, curve: LineFile) -> dict[str, float]:
        """Evaluate both modes, append every episode to the curve, and return the row of metrics."""
        count, seed = self._params.training.evaluation_episodes, self._params.seed
        seeds = [episode_seed(seed, "train/evaluation", index) for index in range(count)]
        row: dict[str, float] = {}
        for mode in _MODES:
            episodes = evaluate(self._policy(mode, env_steps), self._environment, seeds)
            for index, episode in enumerate(episodes):
                numbers = f"{index},{episode.seed},{episode.episode_return!r},{episode.length}"
                curve.write(f"{env_steps},{mode},{numbers}")
            row |= _summary(mode, episodes)
            self.returns[mode] = float(row[f"evaluation/{mode}/return_mean"])
            if mode == "deterministic":
                row["evaluation/deterministic/value_bias"] = self._value_bias(episodes)
        return row

    def _policy(self, mode: str, env_steps: int) -> Callable[[FloatArray], FloatArray]:
        if mode == "deterministic":
            return lambda observation: self._learner.act(observation, None)
        stream = generator(self._params.seed, f"train/evaluation/{env_steps}")
        size = self._environment.spec.action_dim
        return lambda observation: self._learner.act(
            observation, stream.standard_normal(size, dtype=np.float32)
        )

    def _value_bias(self, episodes: tuple[Episode, ...]) -> float:
        """Return the critics' value of each start minus the discounted return from there, mean."""
        biases = []
        for episode in episodes:
            start = self._environment.reset(episode.seed)
            discounts = self._params.algorithm.discount ** np.arange(episode.length)
            discounted_return = float(np.dot(discounts, episode.rewards))
            value = self._learner.value(start, self._learner.act(start, None))
            biases.append(value - discounted_return)
        return sum(biases) / len(biases)

    def close(self) -> None:
        """Free the simulator."""
        self._environment.close()


def _summary(mode: str, episodes: tuple[Episode, ...]) -> dict[str, float]:
    returns = [episode.episode_return for episode in episodes]
    values = {
        "return_mean": sum(returns) / len(returns),
        "return_min": min(returns),
        "return_max": max(returns),
        "length_mean": sum(episode.length for episode in episodes) / len(episodes),
    }
    return {f"evaluation/{mode}/{name}": value for name, value in values.items()}
