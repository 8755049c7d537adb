"""One training run: its learner, simulators, experience, random streams and files.

`training/loop.py` calls its methods in order; `training/resume.py` opens it, from the start or a checkpoint.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sacpipe.algorithms.base import Learner
from sacpipe.core.errors import DivergenceError
from sacpipe.core.files import sync_folder, write_json
from sacpipe.core.seeding import generator, generator_state
from sacpipe.networks.policy_file import encode_policy
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.episode_order import EpisodeOrder
from sacpipe.replay.pool.segments import stored_tensors
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.replay.samplers.mixture import Mixture
from sacpipe.specs.records import Batch, Step, Transition
from sacpipe.training.batch_sources import batch_sources
from sacpipe.training.checkpoint import RunState, write_checkpoint
from sacpipe.training.clock import Clock
from sacpipe.training.config import TrainParams
from sacpipe.training.environments import TrainingEnvironment, open_environments, random_action
from sacpipe.training.evaluator import CURVE_HEADER, Evaluator
from sacpipe.training.extension import param_digests
from sacpipe.training.foreign_members import FOREIGN, member_errors, raise_member_error, section_errors
from sacpipe.training.memory import buffer_capacity, check_memory
from sacpipe.training.metrics import LEARNER_METRICS, POLICY_LAG, Averages, LineFile

_DIAGNOSED_EVERY = 20
"""Every so many gradient steps, one contributes to the metrics."""


class Run:
    """The state of a training run. Made by `open_run` of training/resume.py, which starts or resumes it.

    Args:
        params: The sections of params.yaml that the run depends on.
        folder: `work/<stage key>/`, for everything unfinished.
        stage_key: The run's identity; a checkpoint of another one is refused.
        initial_pool: Folder of the pool that `replay.initial_pool` names.

    Raises:
        ConfigError: the algorithm cannot learn the task, its policy cannot be written, or the engine has no
            update for it; the transitions do not fit into memory; the initial pool is missing, or is another
            than the one that was named.
        PoolError: the initial pool is damaged.
    """

    writer: PoolWriter
    """Of the replay pool on disk."""
    pool: EpisodeOrder
    """Passes transitions to the writer, the episodes one after another."""
    metrics: LineFile
    """metrics.jsonl."""
    curve: LineFile
    """curve.csv."""
    _clock: Clock

    def __init__(
        self, params: TrainParams, folder: Path, stage_key: str, initial_pool: Path | None = None
    ) -> None:
        self.params, self.folder, self.stage_key = params, folder, stage_key
        environment = params.task.make()
        self.spec = environment.spec
        check_memory(params, self.spec)
        self.algorithm = f"algorithm '{params.algorithm.name}'"
        with section_errors("algorithm", params.algorithm.name):
            self.learner: Learner = params.algorithm.build(self.spec, params.seed)
            encode_policy(self.learner.policy())  # what cannot be written fails now, not after the training
            discount = self.learner.discount
        with section_errors("engine", params.engine.name):
            self.learner = params.engine.attach(self.learner)
        self.evaluator = Evaluator(params, self.learner, environment)
        self.num_environments = params.training.num_environments
        self.buffer = ReplayBuffer(self.spec, buffer_capacity(params), self.num_environments)
        self.sampling_stream = generator(params.seed, "replay/sample")
        self._mixture = Mixture(batch_sources(params, self.spec, self.buffer, initial_pool, discount))
        self.averages = Averages()
        self.last_update: dict[str, float] = {}
        """Description of the last update where that was before a resume, so that the learner has none."""
        self.determinism: Literal["exact", "statistical"] = "exact"
        self.env_steps = 0
        self.episode_environments = [*range(self.num_environments)]
        """Environment of each episode so far, by the episode's number."""
        self.acting_gradient_steps: int | None = None
        """Gradient steps of the policy that chose the actions of the steps that have begun, if any have."""
        self.environments = open_environments(params, self.spec)

    def start(self) -> None:
        """Begin at step 0 with empty files.

        Raises:
            StorageError: the folder cannot be written.
        """
        self.metrics = LineFile(self.folder / "metrics.jsonl", 0)
        self.curve = LineFile(self.folder / "curve.csv", 0)
        self.curve.write(CURVE_HEADER)
        self.writer = PoolWriter.create(self.folder / "pool", self.spec, self.params.replay)
        self.pool = EpisodeOrder(self.writer, range(self.num_environments))
        sync_folder(self.folder)
        for environment in self.environments:
            environment.begin_episode()

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

    def is_due(self, interval_steps: int) -> bool:
        """Return whether work done every so many steps, and after the last one, is due after this round."""
        is_last = self.env_steps == self.params.training.total_steps
        return self.env_steps % interval_steps < self.num_environments or is_last

    def act(self) -> None:
        """Choose an action in each environment, a random one at first, then one of the learner with noise.

        The steps of the round begin with it: in processes, the simulators work from now on.
        """
        num_random = self.params.training.random_steps - self.env_steps
        for place, environment in enumerate(self.environments):
            observation = environment.observation
            try:
                if place < num_random:
                    action = random_action(environment, self.spec.action_dim)
                else:
                    action = self.learner.act(observation, environment.exploration_stream)
            except FOREIGN as exc:
                raise_member_error(exc, self.algorithm, "act()", self.env_steps)
            try:
                self.learner.observe(observation)
            except FOREIGN as exc:
                raise_member_error(exc, self.algorithm, "observe()", self.env_steps)
            environment.begin_step(action)
        self.acting_gradient_steps = self.learner.gradient_steps
        self._clock.lap("act")

    def step(self) -> list[Step]:
        """Wait for the steps of a round, one in each environment."""
        steps = [environment.finish_step() for environment in self.environments]
        self._clock.lap("step")
        return steps

    def store(self, steps: Sequence[Step]) -> None:
        """Add a round's transitions to the buffer and the pool, and advance to their next observations."""
        self._measure_lag()
        for environment, step in zip(self.environments, steps, strict=True):
            transition = Transition(
                environment.observation,
                environment.action,
                step.reward,
                step.observation,
                step.terminated,
                step.truncated,
                environment.episode,
            )
            self.buffer.add(transition)
            self.pool.append(transition)
            environment.advance(step)
            self.env_steps += 1
        self._clock.lap("store")

    def _measure_lag(self) -> None:
        """Count the updates since the actions of the round were chosen, where a run may have any."""
        training, before = self.params.training, self.acting_gradient_steps
        may_lag = self.num_environments > 1 or training.policy_lag_rounds > 0
        if before is not None and may_lag and self.env_steps >= training.random_steps:
            self.averages.add({POLICY_LAG: self.learner.gradient_steps - before})
        self.acting_gradient_steps = None

    def update(self) -> None:
        """Sample and update, as often as the params require for this round; describe some of the updates."""
        training = self.params.training
        interval, count = training.update_schedule
        before = max(self.env_steps - self.num_environments, training.random_steps)
        count *= max(0, self.env_steps // interval - before // interval)
        for _ in range(count):
            try:
                batch = self._mixture.sample(self.sampling_stream)
            except FOREIGN as exc:
                sampler = f"sampler '{self.params.replay.sampler.name}'"
                raise_member_error(exc, sampler, "its call", self.env_steps)
            self._clock.lap("sample")
            try:
                self.learner.update(batch)
            except DivergenceError as exc:
                raise self._located(exc, batch) from exc
            except FOREIGN as exc:
                engine = f"{self.algorithm} with engine '{self.params.engine.name}'"
                raise_member_error(exc, engine, "update()", self.env_steps)
            self.last_update = {}
            if self.learner.gradient_steps % _DIAGNOSED_EVERY == 0:
                self.averages.add(self._describe())
            self._clock.lap("update")

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
            culprit = f"{self._mixture.origin(exc.row)} caused it (reward {batch.rewards[exc.row]:g})"
        return DivergenceError(
            f"step {self.env_steps}: {exc} Of the batch, {culprit}. The last checkpoint is kept."
        )

    def end_episodes(self, steps: Sequence[Step]) -> None:
        """Log each episode that ended with a round's steps, and begin the next one there."""
        before = self.env_steps - self.num_environments
        for place, (environment, step) in enumerate(zip(self.environments, steps, strict=True)):
            if step.terminated or step.truncated:
                self.metrics.write_row({"env_steps": before + place + 1} | environment.totals.row())
                self.begin_next_episode(environment)

    def begin_next_episode(self, environment: TrainingEnvironment) -> None:
        """End an environment's episode in the pool and begin another, with the next number of the run."""
        self.pool.end(environment.episode)
        environment.episode = len(self.episode_environments)
        self.episode_environments.append(environment.number)
        environment.begin_episode()

    def log(self) -> None:
        """Write the averages of the updates since the last row, and the time by phase."""
        if self.learner.gradient_steps and not self.averages.sums.keys() - {POLICY_LAG}:
            self.averages.add(self._describe())
        if self.averages.sums:
            counters = {"env_steps": self.env_steps, "gradient_steps": self.learner.gradient_steps}
            self.metrics.write_row(counters | self.averages.take())
        self._clock.log(self.env_steps)

    def evaluate(self) -> None:
        """Evaluate the policy without and with noise, and write the row and the curve."""
        row = self.evaluator.evaluate(self.env_steps, self.curve)
        self.metrics.write_row({"env_steps": self.env_steps} | row)
        self._clock.lap("evaluate")

    def checkpoint(self) -> None:
        """Make everything so far durable; writes the transitions since the last checkpoint, and all networks.

        Raises:
            DivergenceError: a parameter is not finite; the previous checkpoint stays the last.
        """
        with member_errors(self.algorithm, "state()", self.env_steps):
            learner = self.learner.state()
        for name, array in learner.items():
            if not np.isfinite(array).all():
                raise DivergenceError(
                    f"{name} holds a value that is not finite at step {self.env_steps}. The checkpoint "
                    "before stays. Lower the learning rates, or look at the task's rewards."
                )
        state = RunState(
            format_version=4,
            stage_key=self.stage_key,
            total_steps=self.params.training.total_steps,
            params=param_digests(self.params.as_tree()),
            determinism=self.determinism,
            env_steps=self.env_steps,
            episodes=tuple(environment.episode for environment in self.environments),
            acting_gradient_steps=self.acting_gradient_steps,
            average_sums=self.averages.sums,
            average_counts=self.averages.counts,
            last_update=self._describe() if self.learner.gradient_steps else {},
            latest_returns=self.evaluator.returns,
            metrics_bytes=self.metrics.sync(),
            curve_bytes=self.curve.sync(),
            pool=self.writer.flush(),
            arrays_sha256="",
        )
        arrays = {f"learner/{name}": array for name, array in learner.items()}
        write_checkpoint(self.folder / "checkpoints", state, arrays | self._arrays())
        self._clock.lap("checkpoint")

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of a checkpoint beside the learner's."""
        streams = [generator_state(environment.exploration_stream) for environment in self.environments]
        waiting = self.pool.waiting()
        tensors = {} if waiting is None else stored_tensors(waiting, "compact")
        begun: dict[str, NDArray[np.generic]] = {}
        if self.acting_gradient_steps is not None:
            begun["actions"] = np.stack([environment.action for environment in self.environments])
        return begun | {
            "explore": np.stack(streams),
            "sample": generator_state(self.sampling_stream),
            "episode_environments": np.array(self.episode_environments, dtype=np.uint16),
            **{f"waiting/{name}": tensor for name, tensor in tensors.items()},
        }

    def close(self) -> None:
        """Free the simulators and the files."""
        self.close_environments()
        self.metrics.close()
        self.curve.close()
        self._clock.close()

    def close_environments(self) -> None:
        """Free the simulators, and end their processes."""
        for environment in self.environments:
            environment.close()
        self.evaluator.close()
