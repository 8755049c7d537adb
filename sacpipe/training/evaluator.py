"""Evaluations during training: the same episodes every time, without and with the policy's noise."""

from typing import Literal

from sacpipe.algorithms.base import EvaluatedEpisode, Learner
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs.base import Environment, Policy
from sacpipe.evaluation.episodes import Episode, evaluate
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray
from sacpipe.training.config import TrainParams
from sacpipe.training.foreign_members import FOREIGN, member_errors, raise_member_error
from sacpipe.training.metrics import LineFile

CURVE_HEADER = "env_steps,policy,episode,seed,return,length"
"""Columns of curve.csv, a row an episode."""

_MODES: tuple[Literal["deterministic", "stochastic"], ...] = ("deterministic", "stochastic")


class Evaluator:
    """Runs a learner's policy in an environment that training does not use.

    Args:
        params: Of the run.
        learner: Its policy is evaluated; nothing of it changes.
        environment: Of the task, for evaluations alone.
    """

    def __init__(self, params: TrainParams, learner: Learner, environment: Environment) -> None:
        self._params, self._learner = params, learner
        self._algorithm = f"algorithm '{params.algorithm.name}'"
        self.environment = environment
        """Of evaluations, and idle between them."""
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
            episodes = evaluate(self._policy(mode, env_steps), self.environment, seeds)
            for index, episode in enumerate(episodes):
                numbers = f"{index},{episode.seed},{episode.episode_return!r},{episode.length}"
                curve.write(f"{env_steps},{mode},{numbers}")
            row |= _summary(f"evaluation/{mode}", episodes)
            self.returns[mode] = float(row[f"evaluation/{mode}/return_mean"])
            if mode == "deterministic":
                row |= self._described(episodes, env_steps)
        return row

    def _policy(self, mode: str, env_steps: int) -> Policy:
        is_stochastic = mode == "stochastic"
        stream = generator(self._params.seed, f"train/evaluation/{env_steps}") if is_stochastic else None

        def act(observation: Observation) -> FloatArray:
            try:
                return self._learner.act(observation, stream)
            except FOREIGN as exc:
                raise_member_error(exc, self._algorithm, "act()", env_steps)

        return act

    def _described(self, episodes: tuple[Episode, ...], env_steps: int) -> dict[str, float]:
        """Return what the learner tells of the deterministic episodes."""
        act, starts = (
            self._policy("deterministic", env_steps),
            (self.environment.reset(episode.seed) for episode in episodes),
        )
        described = [
            EvaluatedEpisode(start, act(start), episode.rewards)
            for start, episode in zip(starts, episodes, strict=True)
        ]
        with member_errors(self._algorithm, "describe_episodes()", env_steps):
            return {name: float(value) for name, value in self._learner.describe_episodes(described).items()}

    def close(self) -> None:
        """Free the simulator."""
        self.environment.close()


def _summary(prefix: str, episodes: tuple[Episode, ...]) -> dict[str, float]:
    returns = [episode.episode_return for episode in episodes]
    values = {
        "return_mean": _mean(returns),
        "return_min": min(returns),
        "return_max": max(returns),
        "length_mean": _mean([episode.length for episode in episodes]),
    }
    for name in episodes[0].metrics:
        values[f"metrics/{name}/mean"] = _mean([episode.metrics[name] for episode in episodes])
        values[f"metrics/{name}/last"] = _mean([episode.last_metrics[name] for episode in episodes])
    return {f"{prefix}/{name}": value for name, value in values.items()}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
