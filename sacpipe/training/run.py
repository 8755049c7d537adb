"""One training run: its learner, simulators, experience, random streams and files.

`training/loop.py` calls its methods in order; `training/resume.py` opens it, from the start or a checkpoint.
"""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sacpipe.algorithms.base import Learner
from sacpipe.algorithms.td_errors import find_td_errors
from sacpipe.core.errors import DivergenceError
from sacpipe.core.files import sync_folder, write_json
from sacpipe.core.seeding import generator, generator_state
from sacpipe.envs.task_environment import recorded_rewards
from sacpipe.networks.policy_file import encode_policy
from sacpipe.replay.buffer import ReplayBuffer
from sacpipe.replay.pool.episode_order import EpisodeOrder
from sacpipe.replay.pool.segments import stored_tensors
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.replay.samplers.base import Sampler
from sacpipe.replay.samplers.mixture import Mixture
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Batch, FloatArray, Step
from sacpipe.training.checkpoint import (
    LEARNER_PREFIX,
    SAMPLER_PREFIX,
    WAITING_PREFIX,
    KeptPolicy,
    RunState,
    write_checkpoint,
)
from sacpipe.training.clock import Clock
from sacpipe.training.config import TrainParams
from sacpipe.training.environments import (
    TrainingEnvironment,
    open_environments,
    random_action,
    require_one_explored,
    require_same_exploration,
)
from sacpipe.training.evaluator import CURVE_HEADER, Evaluator
from sacpipe.training.extension import param_digests
from sacpipe.training.foreign_members import FOREIGN, member_errors, raise_member_error, section_errors
from sacpipe.training.memory import buffer_capacity, check_memory
from sacpipe.training.metrics import LEARNER_METRICS, POLICY_LAG, Averages, LineFile
from sacpipe.training.samplers import batch_sources, build_sampler
from sacpipe.training.warm_start import copy_weights

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
        ConfigError: the algorithm cannot learn the task, or in several environments; its policy cannot be
            written; the engine has no update for it; the transitions do not fit into memory; the initial pool
            or the weights are missing, or are others than those that were named.
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
        self,
        params: TrainParams,
        folder: Path,
        stage_key: str,
        initial_pool: Path | None = None,
        warm_start: Path | None = None,
    ) -> None:
        self.params, self.folder, self.stage_key = params, folder, stage_key
        environment = params.task.make()
        self.spec = environment.spec
        check_memory(params, self.spec)
        self.algorithm = f"algorithm '{params.algorithm.name}'"
        with section_errors("algorithm", params.algorithm.name):
            self.learner: Learner = params.algorithm.build(self.spec, params.seed)
            encode_policy(self.learner.policy())  # what cannot be written fails now, not after the training
        copy_weights(self.learner, params, warm_start)
        with section_errors("engine", params.engine.name):
            built, self.learner = self.learner, params.engine.attach(self.learner)
            require_same_exploration(params, built, self.learner)
        require_one_explored(params, self.learner)
        self._explore = getattr(self.learner, "explore", self.learner.act)
        self.evaluator = Evaluator(params, self.learner, environment)
        self.kept = KeptPolicy(params.training.keep)
        self.is_stopped = False
        """Whether the last evaluation reached `training.stop_at_return`."""
        self.num_environments = params.training.num_environments
        self.buffer = ReplayBuffer(self.spec, buffer_capacity(params), self.num_environments)
        self.sampling_stream = generator(params.seed, "replay/sample")
        self.sampler_name = f"sampler '{params.replay.sampler.name}'"
        self.mixture = Mixture(
            batch_sources(params, self.spec, self.buffer, initial_pool, self._build_sampler)
        )
        self._td_errors = find_td_errors(self.learner) if self.mixture.is_guided else None
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

    def _build_sampler(self) -> Sampler:
        """Return a sampler for one buffer. The evaluator's environment, idle meanwhile, computes rewards."""
        return build_sampler(
            self.params.replay.sampler,
            self.spec,
            self.learner,
            lambda: recorded_rewards(self.evaluator.environment),
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
                str(name): {"unit": str(metric.unit), "meaning": str(metric.meaning)}
                for name, metric in self.learner.metrics().items()
            }
        write_json(self.folder / LEARNER_METRICS, described)
        self._clock = Clock(self.folder / "throughput.jsonl", self.env_steps)

    def is_due(self, interval_steps: int) -> bool:
        """Return whether work done every so many steps, and after the last one, is due after this round."""
        return self.env_steps % interval_steps < self.num_environments or self.is_finished

    @property
    def is_finished(self) -> bool:
        """Whether the present round is the last one."""
        return self.is_stopped or self.env_steps == self.params.training.total_steps

    def act(self) -> None:
        """Choose an action in each environment, a random one at first, then one of the learner with noise.

        The steps of the round begin with it: in processes, the simulators work from now on.
        """
        num_random = self.params.training.num_random_actions - self.env_steps
        for place, environment in enumerate(self.environments):
            observation = environment.observation
            try:
                if place < num_random:
                    action = random_action(environment, self.spec.action_dim)
                else:
                    action = self._explore(observation, environment.exploration_stream)
            except FOREIGN as exc:
                raise_member_error(exc, self.algorithm, f"{self._explore.__name__}()", self.env_steps)
            self._observe(observation)
            environment.begin_step(action)
        self.acting_gradient_steps = self.learner.gradient_steps
        self._clock.lap("act")

    def _observe(self, observation: Observation) -> None:
        """Show the learner an observation, and how a sampler may change it."""
        relabelling = self.mixture.relabelling
        try:
            self.learner.observe(observation)
            if relabelling is not None:
                self.learner.observe(relabelling.relabelled(observation))
        except FOREIGN as exc:
            raise_member_error(exc, self.algorithm, "observe()", self.env_steps)

    def step(self) -> list[Step]:
        """Wait for the steps of a round, one in each environment."""
        steps = [environment.finish_step() for environment in self.environments]
        self._clock.lap("step")
        return steps

    def store(self, steps: Sequence[Step]) -> None:
        """Add a round's transitions to the buffer and the pool, and advance to their next observations."""
        self._measure_lag()
        for environment, step in zip(self.environments, steps, strict=True):
            transition = environment.transition(step)
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
                batch = self.mixture.sample(self.sampling_stream)
            except FOREIGN as exc:
                raise_member_error(exc, self.sampler_name, "its call", self.env_steps)
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

    def _guide_sampler(self, td_errors: Callable[[], FloatArray]) -> None:
        """Tell the sampler how far the last batch's values were from their targets."""
        with member_errors(self.algorithm, "td_errors()", self.env_steps):
            errors = td_errors()
        with member_errors(self.sampler_name, "receive()", self.env_steps):
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

    def end_episodes(self, steps: Sequence[Step]) -> None:
        """Log each episode that ended with a round's steps, and begin the next one there."""
        before = self.env_steps - self.num_environments
        for place, (environment, step) in enumerate(zip(self.environments, steps, strict=True)):
            if step.terminated or step.truncated:
                self.metrics.write_row({"env_steps": before + place + 1} | environment.totals.row())
                self.begin_next_episode(environment)

    def begin_next_episode(self, environment: TrainingEnvironment) -> None:
        """End an environment's episode in learner and pool, and begin another with the run's next number."""
        if hasattr(self.learner, "end_episode"):
            with member_errors(self.algorithm, "end_episode()", self.env_steps):
                self.learner.end_episode()
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
        state = RunState(
            format_version=4,
            stage_key=self.stage_key,
            total_steps=self.params.training.total_steps,
            params=param_digests(self.params.as_tree()),
            determinism=self.determinism,
            policy=header.as_tree(),
            env_steps=self.env_steps,
            episodes=tuple(environment.episode for environment in self.environments),
            acting_gradient_steps=self.acting_gradient_steps,
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
        arrays = {f"{LEARNER_PREFIX}{name}": array for name, array in learner.items()}
        write_checkpoint(self.folder / "checkpoints", state, arrays | self._arrays())
        self._clock.lap("checkpoint")

    def _arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return the arrays of a checkpoint beside the learner's."""
        with member_errors(self.sampler_name, "state()", self.env_steps):
            sampler = self.mixture.state()
        streams = [generator_state(environment.exploration_stream) for environment in self.environments]
        waiting = self.pool.waiting()
        tensors = {} if waiting is None else stored_tensors(waiting, "compact")
        arrays = self.kept.arrays()
        if self.acting_gradient_steps is not None:
            arrays["actions"] = np.stack([environment.action for environment in self.environments])
        return arrays | {
            "explore": np.stack(streams),
            "sample": generator_state(self.sampling_stream),
            "episode_environments": np.array(self.episode_environments, dtype=np.uint16),
            **{f"{SAMPLER_PREFIX}{name}": array for name, array in sampler.items()},
            **{f"{WAITING_PREFIX}{name}": tensor for name, tensor in tensors.items()},
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
