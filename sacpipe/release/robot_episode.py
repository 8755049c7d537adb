"""Episodes by the robot's own runtime, with its guards, on a simulated clock.

The clock moves by one control period a step and stands still while a step is computed, so that no guard's
verdict depends on how busy this machine is.
"""

from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np

from sacpipe.core.seeding import generator
from sacpipe.envs.base import Environment, require_time_limit
from sacpipe.envs.mujoco_physics import changed_physics
from sacpipe.evaluation.episodes import Episode
from sacpipe.release.evidence import Perturbation
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray

_NO_CLOCK_PERIOD_NS = 10**9
"""Period between the stamps of a task without a clock, whose times no guard checks."""


class RunEpisode(NamedTuple):
    """One episode and what the robot did in it."""

    episode: Episode
    actions: FloatArray
    """Executed actions in task units. Shape (length, action_dim)."""
    observations: tuple[Observation, ...]
    """What the runtime was given, one a step."""


class SensorPath:
    """The way of observations from the simulator to the runtime: noise, drop-outs and delay.

    Args:
        perturbation: What is changed.
        noise_scale: Standard deviation of the noise of each float32 entry of the policy. Shape (vector_dim,).
        random: Source of the draws of one episode.
    """

    def __init__(
        self, perturbation: Perturbation, noise_scale: FloatArray, random: np.random.Generator
    ) -> None:
        self._scale, self._random, self._drop_out = noise_scale, random, perturbation.drop_out
        self._has_noise = perturbation.noise > 0
        self._in_transit: deque[tuple[Observation, int]] = deque(maxlen=perturbation.delay_periods + 1)

    def arrival(self, newest: Observation, now_ns: int) -> tuple[Observation, int]:
        """Return the observation that arrives now, and its time stamp."""
        is_dropped = self._drop_out > 0 and self._random.random() < self._drop_out
        if self._has_noise:
            noise = self._scale * self._random.standard_normal(self._scale.shape, dtype=np.float32)
            newest = Observation(newest.layout, newest.vector + noise, newest.images)
        if not (is_dropped and self._in_transit):
            self._in_transit.append((newest, now_ns))
        return self._in_transit[0]


class Robot:
    """One policy in its runtime, ready to run episodes one after the other.

    Args:
        policy: The policy. No other object may run it.
        perturbation: What is changed in every episode.
        noise_scale: Range of each float32 entry of the policy, by which noise is scaled. Shape (vector_dim,).
    """

    def __init__(self, policy: OnnxPolicy, perturbation: Perturbation, noise_scale: FloatArray) -> None:
        self._now_ns = 0
        self._runtime = Runtime(policy, clock_ns=lambda: self._now_ns)
        self._perturbation = perturbation
        self._scale = (perturbation.noise * noise_scale).astype(np.float32)
        self._spec = policy.contract.spec
        self._rescale = to_unit_range(self._spec)
        period_s = self._spec.control_period_s
        self._period_ns = _NO_CLOCK_PERIOD_NS if period_s is None else round(period_s * 1e9)

    def run(self, environment: Environment, seed: int, draws: int) -> RunEpisode:
        """Run one episode.

        Args:
            environment: Environment of the policy's task that nothing else uses meanwhile.
            seed: Seed to reset it with.
            draws: Seed of noise and drop-outs.

        Raises:
            SimulatorError: the task raised an error, or has no MuJoCo model for changed mass or friction.
            ConfigError: the task has no time limit.
        """
        require_time_limit(environment.spec)
        self._runtime.clear_stop()
        self._runtime.begin_episode()
        path = SensorPath(self._perturbation, self._scale, generator(draws, "release/perturbation"))
        newest = environment.reset(seed)
        with self._physics(environment):
            return self._steps(environment, seed, newest, path)

    def _physics(self, environment: Environment) -> AbstractContextManager[None]:
        perturbation = self._perturbation
        if not perturbation.changes_physics:
            return nullcontext()
        return changed_physics(environment, mass=perturbation.mass, friction=perturbation.friction)

    def _steps(
        self, environment: Environment, seed: int, newest: Observation, path: SensorPath
    ) -> RunEpisode:
        rewards: list[float] = []
        actions: list[FloatArray] = []
        observations: list[Observation] = []
        while True:
            self._now_ns += self._period_ns
            observation, stamp_ns = path.arrival(policy_terms(newest, self._spec), self._now_ns)
            action = self._runtime.step(observation, stamp_ns).action
            step = environment.step(self._rescale(action))
            newest = step.observation
            rewards.append(step.reward)
            actions.append(action)
            observations.append(observation)
            if step.terminated or step.truncated:
                episode = Episode(
                    seed=seed,
                    episode_return=float(sum(rewards)),
                    length=len(rewards),
                    terminated=step.terminated,
                    truncated=step.truncated,
                )
                return RunEpisode(episode, np.stack(actions), tuple(observations))


def policy_terms(observation: Observation, spec: EnvSpec) -> Observation:
    """Return the terms that exist on a robot: critics and goal samplers see more in simulation."""
    images = {term.name: observation.images[term.name] for term in spec.layout.image_terms}
    return Observation(spec.layout, observation.group("policy"), images)
