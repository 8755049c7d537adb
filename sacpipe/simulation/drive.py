"""A simulated robot in real time: the control loop, the runtime and its guards run a simulated task.

Observations can be disturbed as on a robot: noise, drop-outs, delay, NaN.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs.base import Environment, Options
from sacpipe.robot.control_loop import LoopReport, realtime_priority, run_loop
from sacpipe.robot.decision import Decision
from sacpipe.robot.recording.folder import RecorderSettings
from sacpipe.robot.recording.recorder import Recorder, RecorderStatus
from sacpipe.robot.runtime import Runtime
from sacpipe.simulation.open_policy import open_policy
from sacpipe.simulation.policy_task import task_of
from sacpipe.specs.env_spec import to_unit_range
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import Step

RECORDER_SETTINGS = RecorderSettings(
    max_bytes=1 << 30, recording_transitions=100_000, segment_transitions=10_000, flush_s=1.0
)
"""Limits of the recordings of `sacpipe drive`."""


class Disturbance(Config):
    """Disturbance of the observations that the policy gets, and of the actions that are executed.

    Noise and NaN are of float32 terms only; images are late or dropped as all terms are.
    """

    noise: float = Field(ge=0)
    """Standard deviation of observation noise, as a share of each entry's range in training."""
    drop_out: float = Field(ge=0, le=1)
    """Probability that a step gets the previous observation again, with its old time stamp."""
    delay_steps: int = Field(ge=0)
    """Steps between an observation's time stamp and its arrival."""
    not_a_number: float = Field(ge=0, le=1)
    """Probability that one entry of an observation is NaN."""
    actuator_noise: float = Field(ge=0)
    """Standard deviation of the executed action around the policy's, as a share of each action's range."""


class DriveConfig(Config):
    """Settings of one real-time run."""

    rate_hz: float | None = Field(ge=1e-4, le=10_000)
    """Control rate in Hz; null for the contract's."""
    seconds: float = Field(gt=0, lt=1e6)
    seed: int = Field(ge=0)
    """Seed of the episodes and of the disturbance."""
    disturbance: Disturbance
    priority: int | None
    """Realtime priority, 1 to 99; null for none."""
    task: str | None
    """`SUITE/[MODULE:]ID` of the policy's task; null for the task of params.yaml."""
    options: Options
    """Task options that differ here from those of the training."""


class Drive(Config):
    """Result of `sacpipe drive`."""

    task: str
    bundle: str
    """Digest of the bundle."""
    rate_hz: float
    disturbance: Disturbance
    episode_returns: tuple[float, ...]
    """Undiscounted returns of the episodes that ended, in the task's units."""
    loop: LoopReport
    recorder: RecorderStatus | None
    """Status of the recorder; null without recording."""


class SimulatedRobot:
    """An environment that takes one step in each control period.

    Args:
        environment: The simulated task.
        runtime: The runtime whose stop is cleared when the next episode begins.
        disturbance: Disturbance of observations and executed actions.
        seed: Seed of the episodes and of the disturbance.
        recorder: Receives rewards, executed actions and ends of episodes.
        clock_ns: The runtime's clock, in nanoseconds.
    """

    def __init__(
        self,
        environment: Environment,
        runtime: Runtime,
        disturbance: Disturbance,
        seed: int,
        recorder: Recorder | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._environment, self._disturbance, self._seed = environment, disturbance, seed
        self._runtime, self._recorder, self._clock_ns = runtime, recorder, clock_ns
        self._random = generator(seed, "drive/disturbance")
        envelope, spec = runtime.policy.contract.envelope, runtime.spec
        self._layout = spec.layout
        ranges = [
            np.subtract(envelope.high[term.name], envelope.low[term.name])
            for term in self._layout.vector_terms
        ]
        self._scale = (disturbance.noise * np.concatenate([*ranges, []])).astype(np.float32)
        self._low, self._high = spec.action_low, spec.action_high
        self._actuator_scale = (disturbance.actuator_noise * (self._high - self._low)).astype(np.float32)
        self._rescale = to_unit_range(spec)
        self.episode_returns: list[float] = []
        self._begin()

    def _begin(self) -> None:
        seed = episode_seed(self._seed, "drive", len(self.episode_returns))
        self._newest = self._policy_terms(self._environment.reset(seed))
        self._return = 0.0
        self._in_transit: deque[tuple[Observation, int]] = deque(maxlen=self._disturbance.delay_steps + 1)

    def observe(self) -> tuple[Observation, int]:
        """Return the observation that arrives now, and its time stamp in nanoseconds."""
        is_dropped = self._in_transit and self._random.random() < self._disturbance.drop_out
        if not is_dropped:
            self._in_transit.append((self._disturbed(), self._clock_ns()))
        return self._in_transit[0]

    def _policy_terms(self, observation: Observation) -> Observation:
        """Return the terms that exist on a robot: critics and goal samplers see more in simulation."""
        images = {term.name: observation.images[term.name] for term in self._layout.image_terms}
        return Observation(self._layout, observation.group("policy"), images)

    def _disturbed(self) -> Observation:
        noise = self._scale * self._random.standard_normal(self._scale.shape, dtype=np.float32)
        vector = self._newest.vector + noise
        if self._random.random() < self._disturbance.not_a_number and vector.size:
            vector[self._random.integers(vector.size)] = np.nan
        return Observation(self._layout, vector, self._newest.images)

    def execute(self, decision: Decision) -> bool:
        """Step the simulator; begin the next episode after the end of one. Returns True: the run goes on."""
        executed = decision.action
        if self._disturbance.actuator_noise:
            noise = self._random.standard_normal(executed.shape, dtype=np.float32)
            executed = np.clip(executed + self._actuator_scale * noise, self._low, self._high)
        step = self._environment.step(self._rescale(executed))
        self._newest = self._policy_terms(step.observation)
        self._return += step.reward
        if self._recorder is not None:
            self._recorder.outcome(step.reward, executed)
        if step.terminated or step.truncated:
            self._end(step)
        return True

    def _end(self, step: Step) -> None:
        last = self._disturbed()  # drawn without a recorder too: the random stream stays the same
        # Delayed observations arrive later.
        if self._recorder is not None and not self._disturbance.delay_steps:
            self._recorder.end_episode(
                last, self._clock_ns(), terminated=step.terminated, truncated=step.truncated
            )
        self.episode_returns.append(self._return)
        self._begin()
        self._runtime.clear_stop()


def drive(policy: str | None, config: DriveConfig, recordings: Path | None) -> Drive:
    """Run a task in real time.

    Args:
        policy: Address of the policy, as for `open_policy`.
        config: Settings of the run.
        recordings: Folder for the recordings, or None.

    Raises:
        ConfigError: `task_of` finds no task of the policy, the task has no rate or refuses its options, or
            the priority is not allowed.
        BundleError: the load gate refuses the bundle.
        BusyError: another recorder uses the folder.
    """
    bundle = open_policy(policy, is_realtime=True)
    spec = bundle.contract.spec
    period_s = spec.control_period_s if config.rate_hz is None else 1.0 / config.rate_hz
    if period_s is None:
        raise ConfigError(f"--rate: {spec.task} has no clock of its own. Give a rate in Hz.")
    steps = max(1, round(config.seconds / period_s))
    runtime = Runtime(bundle, control_period_s=period_s)
    with ExitStack() as stack:
        task = task_of(spec, config.task, config.options)
        environment = stack.enter_context(closing(task.make()))
        recorder = None
        if recordings is not None:
            recorder = stack.enter_context(Recorder(runtime, recordings, RECORDER_SETTINGS))
        robot = SimulatedRobot(environment, runtime, config.disturbance, config.seed, recorder)
        if config.priority is not None:
            stack.enter_context(realtime_priority(config.priority))
        report = run_loop(runtime, robot, period_s=period_s, max_steps=steps)
    return Drive(
        task=spec.task,
        bundle=bundle.digest,
        rate_hz=1.0 / period_s,
        disturbance=config.disturbance,
        episode_returns=tuple(robot.episode_returns),
        loop=report,
        recorder=None if recorder is None else recorder.status,
    )
