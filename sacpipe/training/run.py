"""One training run: its learner, simulators, experience, random streams and files.

`training/loop.py` calls its methods in order; `training/resume.py` opens it, from the start or a checkpoint.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from sacpipe.algorithms.base import Learner
from sacpipe.algorithms.td_errors import find_td_errors
from sacpipe.core.errors import DivergenceError
from sacpipe.core.files import sync_folder, write_json
from sacpipe.core.seeding import episode_seed, generator, generator_state
from sacpipe.envs.recorded_rewards import recorded_rewards
from sacpipe.networks.policy_file import encode_policy
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.replay.samplers.base import Sampler
from sacpipe.replay.samplers.mixture import Mixture
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray, Step, Transition
from sacpipe.training.batch_sources import batch_sources
from sacpipe.training.checkpoint import LEARNER_PREFIX, RunState, write_checkpoint
from sacpipe.training.clock import Clock
from sacpipe.training.config import TrainParams
from sacpipe.training.evaluator import CURVE_HEADER, Evaluator
from sacpipe.training.extension import param_digests
from sacpipe.training.foreign_members import FOREIGN, member_errors, raise_member_error, section_errors
from sacpipe.training.kept_policy import KeptPolicy
from sacpipe.training.memory import buffer_capacity, check_memory
from sacpipe.training.metrics import LEARNER_METRICS, Averages, EpisodeTotals, LineFile
from sacpipe.training.samplers import build_sampler
from sacpipe.training.warm_start import begin_with, give_weights, read_weights

_DIAGNOSED_EVERY = 20
"""Every so many gradient steps, one contributes to the metrics."""


class Run:
    """The state of a training run. Made by `open_run` of training/resume.py, which starts or resumes it.

    Args:
        params: The sections of params.yaml that the run depends on.
        folder: `work/<stage key>/`, for everything unfinished.
        stage_key: The run's identity; a checkpoint of another one is refused.
        initial_pool: Folder of the pool that `replay.initial_pool` names.
        warm_start: Folder of the weights that `training.warm_start` and the algorithm name.

    Raises:
        ConfigError: the algorithm cannot learn the task, its policy cannot be written, or the engine has no
            update for it; the transitions do not fit into memory; the initial pool or the weights are
            missing, or are others than those that were named.
        PoolError: the initial pool is damaged.
    """

    writer: PoolWriter
    """Of the replay pool on disk."""
    metrics: LineFile
    """metrics.jsonl."""
    curve: LineFile
    """curve.csv."""
    _clock: Clock
    observation: Observation
    """Present observation of the running episode."""

    def __init__(
        self,
        params: TrainParams,
        folder: Path,
        stage_key: str,
        initial_pool: Path | None = None,
        warm_start: Path | None = None,
    ) -> None:
        self.params, self.folder, self.stage_key = params, folder, stage_key
        self.environment = params.task.make()
        self.spec = self.environment.spec
        check_memory(params, self.spec)
        self.algorithm = f"algorithm '{params.algorithm.name}'"
        with section_errors("algorithm", params.algorithm.name):
            self.learner: Learner = params.algorithm.build(self.spec, params.seed)
            encode_policy(self.learner.policy())  # what cannot be written fails now, not after the training
        self._begin_with(warm_start)
        with section_errors("engine", params.engine.name):
            self.learner = params.engine.attach(self.learner)
        self._explore = getattr(self.learner, "explore", self.learner.act)
        self.evaluator = Evaluator(params, self.learner)
        self.kept = KeptPolicy(params.training.keep)
        self.is_stopped = False
        """Whether the last evaluation reached `training.stop_at_return`."""
        self.buffer = ReplayBuffer(self.spec, buffer_capacity(params))
        self.exploration_stream = generator(params.seed, "explore")
        self.sampling_stream = generator(params.seed, "replay/sample")
        self.mixture = Mixture(
            batch_sources(params, self.spec, self.buffer, initial_pool, self._build_sampler)
        )
        self._td_errors = find_td_errors(self.learner) if self.mixture.is_guided else None
        self.averages = Averages()
        self.last_update: dict[str, float] = {}
        """Description of the last update where that was before a resume, so that the learner has none."""
        self.determinism: Literal["exact", "statistical"] = "exact"
        self.env_steps = self.episode = 0
        self.totals = EpisodeTotals()

    def _begin_with(self, folder: Path | None) -> None:
        """Copy the weights that params name into the learner, which no engine has yet."""
        with section_errors("algorithm", self.params.algorithm.name):
            give_weights(self.learner, self.params.algorithm, folder)
        config = self.params.training.warm_start
        self._acts_at_random = config is None or config.first_actions == "random"
        if config is None:
            return
        if folder is None:
            raise ValueError("expected the folder of training.warm_start, found None")
        with section_errors("training.warm_start", config.parts):
            begin_with(self.learner, read_weights(folder, config), config)

    def _build_sampler(self) -> Sampler:
        return build_sampler(
            self.params.replay.sampler, self.spec, self.learner, lambda: recorded_rewards(self.environment)
        )

    def start(self) -> None:
        """Begin at step 0 with empty files.

        Raises:
            StorageError: the folder cannot be written.
        """
        self.metrics = LineFile(self.folder / "metrics.jsonl", 0)
        self.curve = LineFile(self.folder / "curve.csv", 0)
        self.curve.write(CURVE_HEADER)
        self.writer = PoolWriter.create(self.folder / "pool", self.spec, self.params.replay)
        sync_folder(self.folder)
        self.begin_episode()

    def start_clock(self) -> None:
        """Measure time from now on; call it once the run is at its first or resumed step.

        What the learner's metrics are is written beside the times: for readers, and no output.
        """
        with member_errors(self.algorithm, "metrics()", self.env_steps):
            described = {
                str(name): {"unit": str(unit), "meaning": str(meaning)}
                for name, (unit, meaning) in self.learner.metrics().items()
            }
        write_json(self.folder / LEARNER_METRICS, described)
        self._clock = Clock(self.folder / "throughput.jsonl", self.env_steps)

    def begin_episode(self) -> None:
        """Reset the simulator to the start that the episode's number names."""
        self.observation = self.environment.reset(episode_seed(self.params.seed, "train", self.episode))
        self.totals = EpisodeTotals()

    def advance(self, step: Step) -> None:
        """Make a step's observation the present one and count the step."""
        self.observation = step.observation
        self.totals.add(step)

    def is_due(self, interval_steps: int) -> bool:
        """Return whether work done every so many steps, and after the last one, is due now."""
        return self.env_steps % interval_steps == 0 or self.is_finished

    @property
    def is_finished(self) -> bool:
        """Whether the present step is the last one."""
        return self.is_stopped or self.env_steps == self.params.training.total_steps

    def act(self) -> FloatArray:
        """Return a random action at first, then one of the learner with noise. In [-1, 1]."""
        if self._acts_at_random and self.env_steps < self.params.training.random_steps:
            action = self.exploration_stream.uniform(-1.0, 1.0, self.spec.action_dim).astype(np.float32)
        else:
            try:
                action = self._explore(self.observation, self.exploration_stream)
            except FOREIGN as exc:
                raise_member_error(exc, self.algorithm, f"{self._explore.__name__}()", self.env_steps)
        self._clock.lap("act")
        return action

    def step(self, action: FloatArray) -> Step:
        """Step the simulator."""
        relabelling = self.mixture.relabelling
        try:
            self.learner.observe(self.observation)
            if relabelling is not None:
                self.learner.observe(relabelling.relabelled(self.observation))
        except FOREIGN as exc:
            raise_member_error(exc, self.algorithm, "observe()", self.env_steps)
        step = self.environment.step(action)
        self._clock.lap("step")
        return step

    def store(self, action: FloatArray, step: Step) -> None:
        """Add the transition to the buffer and the pool, and advance to its next observation."""
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
        self.advance(step)
        self.env_steps += 1
        self._clock.lap("store")

    def update(self) -> None:
        """Sample and update, as often as the params require at this step; describe some of the updates."""
        training = self.params.training
        interval, count = training.update_schedule
        if self.env_steps % interval:
            return
        for _ in range(count):
            try:
                batch = self.mixture.sample(self.sampling_stream)
            except FOREIGN as exc:
                raise_member_error(exc, self._sampler_name, "its call", self.env_steps)
            self._clock.lap("sample")
            try:
                self.learner.update(batch)
            except DivergenceError as exc:
                raise self._located(exc, batch) from exc
            except FOREIGN as exc:
                engine = f"{self.algorithm} with engine '{self.params.engine.name}'"
                raise_member_error(exc, engine, "update()", self.env_steps)
            if self._td_errors is not None:
                self._guide_sampler(self._td_errors)
            self.last_update = {}
            if self.learner.gradient_steps % _DIAGNOSED_EVERY == 0:
                self.averages.add(self._describe())
            self._clock.lap("update")

    @property
    def _sampler_name(self) -> str:
        return f"sampler '{self.params.replay.sampler.name}'"

    def _guide_sampler(self, td_errors: Callable[[], FloatArray]) -> None:
        """Tell the sampler how far the last batch's values were from their targets."""
        with member_errors(self.algorithm, "td_errors()", self.env_steps):
            errors = td_errors()
        with member_errors(self._sampler_name, "receive()", self.env_steps):
            self.mixture.receive(errors)

    def _describe(self) -> dict[str, float]:
        """Return what the learner tells of its last update.

        Raises:
            DivergenceError: a value is not finite.
        """
        found = self.last_update
        if not found:
            with member_errors(self.algorithm, "diagnostics()", self.env_steps):
                found = {name: float(value) for name, value in self.learner.diagnostics().items()}
        for name, value in found.items():
            if not math.isfinite(value):
                raise DivergenceError(
                    f"step {self.env_steps}: the metric {name} is {value:g}; expected a finite number. The "
                    "last checkpoint is kept. Lower the learning rates, or look at the task's rewards."
                )
        return found

    def _located(self, exc: DivergenceError, batch: Batch) -> DivergenceError:
        """Add the step of a divergence, and the transition that caused it."""
        culprit = "no single transition caused it"
        if exc.row is not None:
            culprit = f"{self.mixture.origin(exc.row)} caused it (reward {batch.rewards[exc.row]:g})"
        return DivergenceError(
            f"step {self.env_steps}: {exc} Of the batch, {culprit}. The last checkpoint is kept."
        )

    def end_episode(self) -> None:
        """Log the episode that ended and begin the next."""
        self.metrics.write_row({"env_steps": self.env_steps} | self.totals.row())
        self.next_episode()

    def next_episode(self) -> None:
        """Let the learner forget the episode, and begin the next."""
        if hasattr(self.learner, "end_episode"):
            with member_errors(self.algorithm, "end_episode()", self.env_steps):
                self.learner.end_episode()
        self.episode += 1
        self.begin_episode()

    def log(self) -> None:
        """Write the averages of the updates since the last row, and the time by phase."""
        if self.learner.gradient_steps and not self.averages.sums:
            self.averages.add(self._describe())
        if self.averages.sums:
            counters = {"env_steps": self.env_steps, "gradient_steps": self.learner.gradient_steps}
            self.metrics.write_row(counters | self.averages.take())
        self._clock.log(self.env_steps)

    def evaluate(self) -> None:
        """Evaluate the policy without and with noise, and write the row and the curve."""
        row = self.evaluator.evaluate(self.env_steps, self.curve)
        self.metrics.write_row({"env_steps": self.env_steps} | row)
        found, stop = self.evaluator.returns["deterministic"], self.params.training.stop_at_return
        with member_errors(self.algorithm, "policy()", self.env_steps):
            self.kept.consider(self.env_steps, found, self.learner.policy)
        self.is_stopped = stop is not None and self.learner.gradient_steps > 0 and found >= stop
        self._clock.lap("evaluate")

    def checkpoint(self) -> None:
        """Make everything so far durable; writes the transitions since the last checkpoint, and all networks.

        Raises:
            DivergenceError: a parameter is not finite; the previous checkpoint stays the last.
        """
        with member_errors(self.algorithm, "state()", self.env_steps):
            learner, header = self.learner.state(), self.learner.policy().header
        for name, array in learner.items():
            if not np.isfinite(array).all():
                raise DivergenceError(
                    f"{name} holds a value that is not finite at step {self.env_steps}. The checkpoint "
                    "before stays. Lower the learning rates, or look at the task's rewards."
                )
        with member_errors(self._sampler_name, "state()", self.env_steps):
            sampler = self.mixture.state()
        state = RunState(
            format_version=4,
            stage_key=self.stage_key,
            total_steps=self.params.training.total_steps,
            params=param_digests(self.params.as_tree()),
            determinism=self.determinism,
            policy=header.as_tree(),
            env_steps=self.env_steps,
            episode=self.episode,
            average_sums=self.averages.sums,
            average_counts=self.averages.counts,
            last_update=self._describe() if self.learner.gradient_steps else {},
            latest_returns=self.evaluator.returns,
            is_stopped=self.is_stopped,
            kept=self.kept.evaluation,
            metrics_bytes=self.metrics.sync(),
            curve_bytes=self.curve.sync(),
            pool=self.writer.flush(),
            arrays_sha256="",
        )
        arrays = {
            **{f"{LEARNER_PREFIX}{name}": array for name, array in learner.items()},
            **{f"sampler/{name}": array for name, array in sampler.items()},
            "explore": generator_state(self.exploration_stream),
            "sample": generator_state(self.sampling_stream),
        }
        arrays |= self.kept.arrays()
        write_checkpoint(self.folder / "checkpoints", state, arrays)
        self._clock.lap("checkpoint")

    def close(self) -> None:
        """Free the simulators and the files."""
        self.environment.close()
        self.evaluator.close()
        self.metrics.close()
        self.curve.close()
        self._clock.close()
