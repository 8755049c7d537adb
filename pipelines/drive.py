"""A simulated robot in real time: the control loop, the runtime and its guards around a MuJoCo task.

What a robot would do to its observations can be done here: noise, drop-outs, delay, NaN.
"""

import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
from pydantic import Field

from pipelines.policies import open_policy
from pipelines.simulation import task_of
from sacpipe.core.bundle import Contract
from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.records import FloatArray
from sacpipe.core.seeding import episode_seed, generator
from sacpipe.envs.base import Environment
from sacpipe.evaluation import to_unit_range
from sacpipe.serving.control_loop import LoopReport, realtime_priority, run_loop
from sacpipe.serving.runtime import Decision, Runtime


class Disturbance(Config):
    """What happens to observations on their way to the policy."""

    noise: float = Field(ge=0)
    """Standard deviation, as a share of each entry's range in training."""
    drop_out: float = Field(ge=0, le=1)
    """Chance that a step sees no new observation but the last one again, with its old stamp."""
    delay_steps: int = Field(ge=0)
    """Steps that an observation, stamped when it was taken, is on its way."""
    not_a_number: float = Field(ge=0, le=1)
    """Chance that one entry is NaN."""


class Drive(Config):
    """What `sacpipe drive` saw."""

    task: str
    bundle: str
    """Digest."""
    rate_hz: float
    disturbance: Disturbance
    episode_returns: tuple[float, ...]
    """Of the episodes that ended."""
    loop: LoopReport


class SimulatedRobot:
    """An environment that is stepped once a control period."""

    def __init__(
        self,
        environment: Environment,
        contract: Contract,
        disturbance: Disturbance,
        seed: int,
        on_new_episode: Callable[[], None],
    ) -> None:
        self._environment, self._disturbance, self._seed = environment, disturbance, seed
        self._random = generator(seed, "drive/disturbance")
        low, high = np.array(contract.envelope.low), np.array(contract.envelope.high)
        self._scale = (disturbance.noise * (high - low)).astype(np.float32)
        self._rescale = to_unit_range(contract.spec)
        self.episode_returns: list[float] = []
        self._on_new_episode = on_new_episode
        self._begin()

    def _begin(self) -> None:
        seed = episode_seed(self._seed, "drive", len(self.episode_returns))
        self._newest = self._environment.reset(seed)
        self._return = 0.0
        self._on_way: deque[tuple[FloatArray, int]] = deque(maxlen=self._disturbance.delay_steps + 1)

    def observe(self) -> tuple[FloatArray, int]:
        """Give the observation that arrives now."""
        is_dropped = self._on_way and self._random.random() < self._disturbance.drop_out
        if not is_dropped:
            self._on_way.append((self._disturbed(), time.monotonic_ns()))
        return self._on_way[0]

    def _disturbed(self) -> FloatArray:
        noise = self._scale * self._random.standard_normal(self._scale.shape, dtype=np.float32)
        observation: FloatArray = self._newest + noise
        if self._random.random() < self._disturbance.not_a_number:
            observation[self._random.integers(observation.size)] = np.nan
        return observation

    def execute(self, decision: Decision) -> bool:
        """Step the simulator; begin the next episode where one ended."""
        step = self._environment.step(self._rescale(decision.action))
        self._newest = step.observation
        self._return += step.reward
        if step.terminated or step.truncated:
            self.episode_returns.append(self._return)
            self._begin()
            self._on_new_episode()
        return True


def drive(
    policy: str | None,
    *,
    rate_hz: float | None,
    seconds: float,
    seed: int,
    disturbance: Disturbance,
    priority: int | None,
) -> Drive:
    """Drive a task in real time.

    Args:
        policy: As for `open_policy`.
        rate_hz: Control rate; None for the contract's.
        seconds: How long.
        seed: Of the episodes and the disturbance.
        disturbance: Of the observations.
        priority: Realtime priority, or None.

    Raises:
        ConfigError: a number is out of range, the task has no rate, or the priority is not allowed.
        BundleError: the bundle is damaged or missing.
    """
    bundle = open_policy(policy)
    spec = bundle.contract.spec
    period_s = spec.control_period_s if rate_hz is None else 1.0 / rate_hz
    if period_s is None:
        raise ConfigError(f"--rate: {spec.task} has no clock of its own. Give a rate in Hz.")
    environment = task_of(spec).make()
    runtime = Runtime(bundle, control_period_s=period_s)
    robot = SimulatedRobot(environment, bundle.contract, disturbance, seed, runtime.clear_stop)
    steps = max(1, round(seconds / period_s))
    try:
        with nullcontext() if priority is None else realtime_priority(priority):
            report = run_loop(runtime, robot, period_s=period_s, max_steps=steps)
    finally:
        environment.close()
    return Drive(
        task=spec.task,
        bundle=bundle.digest,
        rate_hz=1.0 / period_s,
        disturbance=disturbance,
        episode_returns=tuple(robot.episode_returns),
        loop=report,
    )
