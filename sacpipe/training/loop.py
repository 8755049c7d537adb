"""The page to read first: act, store, sample, update, evaluate, checkpoint.

`train` is the loop; `Run` is everything it works on. A run that was interrupted continues from its
last checkpoint with the same bytes as one that was not.
"""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from sacpipe.algorithms.base import Learner
from sacpipe.core.config import Config
from sacpipe.core.errors import DivergenceError, InterruptedRunError, PoolCorruptError
from sacpipe.core.files import (
    copy_file,
    remove_leftovers,
    sha256_file,
    storage_errors,
    sync_folder,
    write_json,
)
from sacpipe.core.seeding import episode_seed, generator, generator_state, restore_generator
from sacpipe.evaluation.episodes import Episode, evaluate
from sacpipe.networks.policy_file import write_policy
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.initial_pool import open_initial_pool
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.replay.samplers.mixture import Mixture, Source
from sacpipe.specs.records import Batch, FloatArray, Step, Transition
from sacpipe.training.checkpoint import (
    Checkpoint,
    RunState,
    adopt,
    discard_beyond,
    whole_checkpoints,
    write_checkpoint,
)
from sacpipe.training.clock import Clock
from sacpipe.training.config import TrainParams
from sacpipe.training.metrics import Averages, LineFile, TornFileError

_LOG = logging.getLogger(__name__)
_DIAGNOSED_EVERY = 20
"""Gradient steps from one that is described in the metrics to the next."""
_CURVE_HEADER = "env_steps,policy,episode,seed,return,length"
_MODES: tuple[Literal["deterministic", "stochastic"], ...] = ("deterministic", "stochastic")


class Progress(Protocol):
    """Who is told how far the run is."""

    def update(self, env_steps: int, latest_return: float | None) -> None:
        """Hear of the present step and of the last deterministic return."""
        ...


class TrainingReport(Config):
    """out/train/metrics.json: where the run ended."""

    env_steps: int
    gradient_steps: int
    episodes: int
    """Training episodes that ended."""
    return_mean_deterministic: float
    return_mean_stochastic: float
    policy_sha256: str
    pool_sha256: str
    """Of the pool's manifest, which holds the digest of every segment."""
    determinism: Literal["exact", "statistical"]
    """The tier of reproducibility: `exact` is the same bytes on the CPU with the same thread count;
    `statistical` the same distribution of returns, because a simulator did not repeat itself."""
    num_threads: int


def train(run: "Run", should_stop: Callable[[], bool], progress: Progress) -> None:
    """Take a run from where it stands to its last step.

    Raises:
        InterruptedRunError: `should_stop` said so; a checkpoint was written first.
        DivergenceError: a loss or a parameter is not finite; the last checkpoint stays.
        ContractError: the task gave a value that is not finite.
    """
    training = run.params.training
    if run.env_steps == 0:
        run.evaluate()
    while run.env_steps < training.total_steps:
        action = run.act()
        step = run.step(action)
        run.store(action, step)
        if run.env_steps > training.random_steps:
            run.update()
        if step.terminated or step.truncated:
            run.end_episode()
        log_and_checkpoint(run, progress)
        if should_stop():
            run.checkpoint()
            raise InterruptedRunError(
                f"training was asked to stop at step {run.env_steps} of {training.total_steps}. A checkpoint "
                "is kept; the same command continues from it."
            )


def log_and_checkpoint(run: "Run", progress: Progress) -> None:
    """Log, evaluate and checkpoint where that is due after the present step."""
    training = run.params.training
    if run.is_due(training.log_interval_steps):
        run.log()
    if run.is_due(training.evaluation_interval_steps):
        run.evaluate()
    if run.is_due(training.checkpoint_interval_steps):
        run.checkpoint()
    if run.is_due(training.log_interval_steps):
        progress.update(run.env_steps, run.latest_return)


class Run:
    """One training run: its learner, simulators, experience, random streams and files.

    Args:
        params: The sections of params.yaml that name the run.
        folder: `work/<stage key>/`, where everything unfinished lives.
        stage_key: The run's identity; a checkpoint of another one is refused.
        base: Where the finished run lies that `training.extends` names.
        initial_pool: Where the pool lies that `replay.initial_pool` names.

    Raises:
        CheckpointError: what stands in the folder, or the run to extend, is of another run.
        ConfigError: the initial pool is not there, or is not the one that was named.
        PoolError: it is damaged.
    """

    def __init__(
        self,
        params: TrainParams,
        folder: Path,
        stage_key: str,
        base: Path | None = None,
        initial_pool: Path | None = None,
    ) -> None:
        self.params, self.folder, self.stage_key = params, folder, stage_key
        self.environment = params.task.make()
        self._evaluation_environment = params.task.make()
        self.spec = self.environment.spec
        self.learner: Learner = params.algorithm.build(self.spec, params.seed)
        self.buffer = ReplayBuffer(self.spec.observation_dim, self.spec.action_dim, params.replay.capacity)
        self._explore = generator(params.seed, "explore")
        self._sample = generator(params.seed, "replay/sample")
        self._mixture = Mixture(self._sources(initial_pool))
        self._averages = Averages()
        self._returns: dict[str, float] = {}
        self.determinism: Literal["exact", "statistical"] = "exact"
        if not self._resume() and not self._extend(base):
            self._start()
        self._clock = Clock(folder / "throughput.jsonl", self.env_steps)

    def _sources(self, initial_pool: Path | None) -> list[Source]:
        """Return what batches are drawn from: the initial pool, where there is one, and this run's own."""
        config, batch_size = self.params.replay.initial_pool, self.params.training.batch_size
        own = Source("this run's pool", self.buffer, batch_size)
        if config is None:
            return [own]
        if initial_pool is None:
            raise ValueError("expected the folder of replay.initial_pool, found None")
        pool = open_initial_pool(initial_pool, config, self.spec)
        pool.check()
        capacity = min(self.params.replay.capacity, pool.transitions)
        buffer = ReplayBuffer(self.spec.observation_dim, self.spec.action_dim, capacity)
        pool.fill(buffer)
        drawn = config.drawn(batch_size)
        earlier = Source("the initial pool", buffer, drawn)
        return [earlier, own._replace(transitions=batch_size - drawn)] if drawn < batch_size else [earlier]

    def _resume(self) -> bool:
        """Take up the newest checkpoint that is whole; say whether there was one."""
        checkpoints = self.folder / "checkpoints"
        for checkpoint in whole_checkpoints(checkpoints, self.stage_key):
            if self._continue(checkpoint):
                discard_beyond(checkpoints, self.env_steps)
                return True
        return False

    def _extend(self, base: Path | None) -> bool:
        """Take up the finished run that this one extends; say whether it extends one."""
        extended = self.params.training.extends
        if extended is None or base is None:
            return False
        adopt(base, extended, self.folder, self.stage_key, self.params.as_tree())
        return self._resume()

    def _start(self) -> None:
        for leftover in ("pool", "checkpoints"):
            shutil.rmtree(self.folder / leftover, ignore_errors=True)
        self.env_steps = self.episode = 0
        self._metrics = LineFile(self.folder / "metrics.jsonl", 0)
        self._curve = LineFile(self.folder / "curve.csv", 0)
        self._curve.write(_CURVE_HEADER)
        self.writer = PoolWriter.create(self.folder / "pool", self.spec, self.params.replay)
        sync_folder(self.folder)
        self._begin_episode()

    def _continue(self, checkpoint: Checkpoint) -> bool:
        """Take up a checkpoint; say False where the experience or the rows it counts on are damaged."""
        state, arrays = checkpoint
        try:
            self._metrics = LineFile(self.folder / "metrics.jsonl", state.metrics_bytes)
            self._curve = LineFile(self.folder / "curve.csv", state.curve_bytes)
            self.writer = PoolWriter.resume(self.folder / "pool", self.spec, self.params.replay, state.pool)
        except (PoolCorruptError, TornFileError) as exc:
            _LOG.warning("step %d cannot be continued from: %s", state.env_steps, exc)
            return False
        self.env_steps, self.episode, self.determinism = state.env_steps, state.episode, state.determinism
        self.writer.fill(self.buffer)
        self.learner.load_state(
            {name.removeprefix("learner/"): array for name, array in arrays.items() if "learner/" in name}
        )
        restore_generator(self._explore, arrays["explore"].astype(np.uint64))
        restore_generator(self._sample, arrays["sample"].astype(np.uint64))
        self._averages = Averages(state.average_sums, state.average_count)
        self._returns = dict(state.latest_returns)
        self._replay_episode(self.writer.tail(self.episode))
        return True

    def _replay_episode(self, recorded: Transitions) -> None:
        """Bring the simulator back: the episode's own seed, then the actions that the pool holds of it.

        A simulator that then shows something else than the record cannot be brought back. The run
        goes on with the next episode and no longer calls itself exact.
        """
        self._begin_episode()
        for action, next_observation in zip(recorded.actions, recorded.next_observations, strict=True):
            step = self.environment.step(action)
            if not np.array_equal(step.observation, next_observation):
                _LOG.warning(
                    "%s does not repeat itself: step %d of episode %d, replayed, gave another observation "
                    "than the recorded one. The run goes on with the next episode, of tier `statistical`.",
                    self.spec.task,
                    self._episode_length,
                    self.episode,
                )
                self.determinism = "statistical"
                self.episode += 1
                self._begin_episode()
                return
            self._move_on(step)

    def _begin_episode(self) -> None:
        self.observation = self.environment.reset(episode_seed(self.params.seed, "train", self.episode))
        self._episode_return, self._episode_length = 0.0, 0

    def _move_on(self, step: Step) -> None:
        self.observation = step.observation
        self._episode_return += step.reward
        self._episode_length += 1

    @property
    def latest_return(self) -> float | None:
        """Mean deterministic return of the last evaluation."""
        return self._returns.get("deterministic")

    def is_due(self, interval_steps: int) -> bool:
        """Say whether something done every so many steps, and after the last one, is to be done now."""
        return self.env_steps % interval_steps == 0 or self.env_steps == self.params.training.total_steps

    def act(self) -> FloatArray:
        """Return a random action at first, then one of the stochastic policy. In [-1, 1]."""
        shape = self.spec.action_dim
        if self.env_steps < self.params.training.random_steps:
            action = self._explore.uniform(-1.0, 1.0, shape).astype(np.float32)
        else:
            noise = self._explore.standard_normal(shape, dtype=np.float32)
            action = self.learner.act(self.observation, noise)
        self._clock.lap("act")
        return action

    def step(self, action: FloatArray) -> Step:
        """Step the simulator."""
        self.learner.observe(self.observation)
        step = self.environment.step(action)
        self._clock.lap("step")
        return step

    def store(self, action: FloatArray, step: Step) -> None:
        """Put the transition into the buffer and the pool, and move on to its next observation."""
        transition = Transition(
            self.observation,
            action,
            step.reward,
            step.observation,
            step.terminated,
            step.truncated,
            self.episode,
        )
        self.buffer.add(transition)
        self.writer.append(transition)
        self._move_on(step)
        self.env_steps += 1
        self._clock.lap("store")

    def update(self) -> None:
        """Sample and update, as often as the params say at this step; look at some of the updates."""
        training = self.params.training
        interval, count = training.update_schedule
        if self.env_steps % interval:
            return
        for _ in range(count):
            batch = self._mixture.sample(self._sample)
            self._clock.lap("sample")
            try:
                self.learner.update(batch)
            except DivergenceError as exc:
                raise self._located(exc, batch) from exc
            if self.learner.gradient_steps % _DIAGNOSED_EVERY == 0:
                self._averages.add(self.learner.diagnostics())
            self._clock.lap("update")

    def _located(self, exc: DivergenceError, batch: Batch) -> DivergenceError:
        """Add to a divergence the step it happened at and the transition that brought it."""
        culprit = "no single transition brought it"
        if exc.row is not None:
            culprit = f"{self._mixture.origin(exc.row)} brought it (reward {batch.rewards[exc.row]:g})"
        return DivergenceError(
            f"step {self.env_steps}: {exc} Of the batch, {culprit}. The last checkpoint is kept."
        )

    def end_episode(self) -> None:
        """Note the episode that ended and begin the next."""
        ended = {"episode/return": self._episode_return, "episode/length": self._episode_length}
        self._metrics.write_row({"env_steps": self.env_steps} | ended)
        self.episode += 1
        self._begin_episode()

    def log(self) -> None:
        """Write the averages of the updates since the last row, and the clock's view of them."""
        if self.learner.gradient_steps and not self._averages.count:
            self._averages.add(self.learner.diagnostics())
        if self._averages.count:
            counters = {"env_steps": self.env_steps, "gradient_steps": self.learner.gradient_steps}
            self._metrics.write_row(counters | self._averages.take())
        self._clock.log(self.env_steps)

    def evaluate(self) -> None:
        """Run the policy without and with noise on episodes that are the same at every evaluation."""
        count = self.params.training.evaluation_episodes
        seeds = [episode_seed(self.params.seed, "train/evaluation", index) for index in range(count)]
        row: dict[str, int | float] = {"env_steps": self.env_steps}
        for mode in _MODES:
            episodes = evaluate(self._policy(mode), self._evaluation_environment, seeds)
            self._write_curve(mode, episodes)
            row |= _summary(mode, episodes)
            self._returns[mode] = float(row[f"evaluation/{mode}/return_mean"])
            if mode == "deterministic":
                row["evaluation/deterministic/value_bias"] = self._value_bias(episodes)
        self._metrics.write_row(row)
        self._clock.lap("evaluate")

    def _value_bias(self, episodes: tuple[Episode, ...]) -> float:
        """Return what the critics expect of each start minus what came of it, both discounted, mean."""
        biases = []
        for episode in episodes:
            start = self._evaluation_environment.reset(episode.seed)
            discounts = self.params.algorithm.discount ** np.arange(episode.length)
            came = float(np.dot(discounts, episode.rewards))
            biases.append(self.learner.value(start, self.learner.act(start, None)) - came)
        return sum(biases) / len(biases)

    def _policy(self, mode: str) -> Callable[[FloatArray], FloatArray]:
        if mode == "deterministic":
            return lambda observation: self.learner.act(observation, None)
        stream, size = generator(self.params.seed, f"train/evaluation/{self.env_steps}"), self.spec.action_dim
        return lambda observation: self.learner.act(
            observation, stream.standard_normal(size, dtype=np.float32)
        )

    def _write_curve(self, mode: str, episodes: tuple[Episode, ...]) -> None:
        for index, episode in enumerate(episodes):
            numbers = f"{index},{episode.seed},{episode.episode_return!r},{episode.length}"
            self._curve.write(f"{self.env_steps},{mode},{numbers}")

    def checkpoint(self) -> None:
        """Make everything so far durable; costs what is new since the last one, and the networks.

        Raises:
            DivergenceError: a parameter is not finite; the checkpoint before stays the last.
        """
        learner = self.learner.state()
        for name, array in learner.items():
            if not np.isfinite(array).all():
                raise DivergenceError(
                    f"{name} holds a value that is not finite at step {self.env_steps}. The checkpoint "
                    "before stays. Lower the learning rates, or look at the task's rewards."
                )
        state = RunState(
            format_version=2,
            stage_key=self.stage_key,
            params=self.params.as_tree(),
            determinism=self.determinism,
            env_steps=self.env_steps,
            episode=self.episode,
            average_sums=self._averages.sums,
            average_count=self._averages.count,
            latest_returns=self._returns,
            metrics_bytes=self._metrics.sync(),
            curve_bytes=self._curve.sync(),
            pool=self.writer.flush(),
            arrays_sha256="",
        )
        arrays = {f"learner/{name}": array for name, array in learner.items()} | {
            "explore": generator_state(self._explore),
            "sample": generator_state(self._sample),
        }
        write_checkpoint(self.folder / "checkpoints", state, arrays)
        self._clock.lap("checkpoint")

    def publish(self, destination: Path) -> TrainingReport:
        """Write the run's outputs.

        What lies in the run's folder stays: where anything fails before DVC has the outputs, the same
        command publishes again from the last checkpoint, without training.

        Raises:
            StorageError: the destination cannot be written; the run can be published again.
        """
        with storage_errors(destination):
            destination.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(destination / "pool", ignore_errors=True)
            remove_leftovers(destination)
            self.writer.finish()
            self.writer.publish(destination / "pool")
            for name in ("metrics.jsonl", "curve.csv"):
                copy_file(self.folder / name, destination / name)
        write_policy(destination / "policy.safetensors", self.learner.policy())
        report = TrainingReport(
            env_steps=self.env_steps,
            gradient_steps=self.learner.gradient_steps,
            episodes=self.episode,
            return_mean_deterministic=self._returns["deterministic"],
            return_mean_stochastic=self._returns["stochastic"],
            policy_sha256=sha256_file(destination / "policy.safetensors"),
            pool_sha256=sha256_file(destination / "pool" / "manifest.json"),
            determinism=self.determinism,
            num_threads=self.params.training.num_threads,
        )
        write_json(destination / "metrics.json", report.as_tree())
        return report

    def close(self) -> None:
        """Free the simulators and the files."""
        self.environment.close()
        self._evaluation_environment.close()
        self._metrics.close()
        self._curve.close()
        self._clock.close()


def _summary(mode: str, episodes: tuple[Episode, ...]) -> dict[str, float]:
    returns = [episode.episode_return for episode in episodes]
    values = {
        "return_mean": sum(returns) / len(returns),
        "return_min": min(returns),
        "return_max": max(returns),
        "length_mean": sum(episode.length for episode in episodes) / len(episodes),
    }
    return {f"evaluation/{mode}/{name}": value for name, value in values.items()}
