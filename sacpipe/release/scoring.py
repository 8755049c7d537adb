"""Scores of one policy in the task of a commit: episodes are run when a rule asks, and kept."""

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract
from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import episode_seed, stream_seed
from sacpipe.envs.base import Environment
from sacpipe.envs.mujoco_physics import find_model
from sacpipe.evaluation.episodes import Episode
from sacpipe.release.evidence import NOMINAL, Perturbation
from sacpipe.release.robot_episode import Robot, RunEpisode
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.records import FloatArray

_STREAM = "release"
"""Stream of the seeds of episodes: neither training nor evaluation has seen them."""
_TIMED_STEPS = 2000
"""Steps of which the latency is taken."""
_WARM_UP_STEPS = 100


class RuntimeScored:
    """`Scored` by the robot's own runtime.

    Args:
        bundle: Verified bundle of the policy.
        environment: Environment of the task; another policy may use it between two episodes.
        seed: Seed of params.yaml.
        noise_scale: Range of each float32 entry by which observation noise is scaled: that of the candidate
            for both policies. Shape (vector_dim,).
        counted: Called once for each episode that was run.
    """

    def __init__(
        self,
        bundle: Bundle,
        environment: Environment,
        seed: int,
        noise_scale: FloatArray,
        counted: Callable[[], None] = lambda: None,
    ) -> None:
        self._bundle, self._environment, self._seed = bundle, environment, seed
        self._scale, self._counted = noise_scale, counted
        self._robots: dict[Perturbation, Robot] = {}
        self._runs: dict[Perturbation, list[RunEpisode]] = {}
        self._latency: NDArray[np.float64] | None = None

    @property
    def bundle_digest(self) -> str:
        """Digest of the bundle."""
        return self._bundle.digest

    @property
    def contract(self) -> Contract:
        """Contract of the bundle."""
        return self._bundle.contract

    def episodes(self, n: int) -> tuple[Episode, ...]:
        """Return the episodes of the first `n` seeds, unperturbed.

        Raises:
            ConfigError: the policy is of another task.
            SimulatorError: the task raised an error.
        """
        return tuple(run.episode for run in self._run(NOMINAL, n))

    def returns(self, n: int) -> NDArray[np.float64]:
        """Return the undiscounted returns of these episodes, in task units. Shape (n,)."""
        return np.array([episode.episode_return for episode in self.episodes(n)], dtype=np.float64)

    def known_returns(self) -> tuple[float | None, ...]:
        """Return those of the nominal episodes that were run so far; None for one that is not finite."""
        found = (run.episode.episode_return for run in self._runs.get(NOMINAL, ()))
        return tuple(value if math.isfinite(value) else None for value in found)

    def actions(self, n: int) -> tuple[FloatArray, ...]:
        """Return the executed actions of these episodes, in task units; of each (length, action_dim)."""
        return tuple(run.actions for run in self._run(NOMINAL, n))

    def perturbed(self, perturbation: Perturbation, n: int) -> tuple[Episode, ...] | None:
        """Return perturbed episodes of the first `n` seeds; None without the MuJoCo model that they need."""
        if perturbation.changes_physics:
            self._environment.reset(episode_seed(self._seed, _STREAM, 0))  # some tasks compile a model then
            if find_model(self._environment) is None:
                return None
        return tuple(run.episode for run in self._run(perturbation, n))

    def latency(self) -> NDArray[np.float64]:
        """Return durations of single steps on the observations of the first episode, in seconds."""
        if self._latency is None:
            self._latency = self._time_steps()
        return self._latency

    def _run(self, perturbation: Perturbation, n: int) -> list[RunEpisode]:
        robot = self._robots.get(perturbation)
        if robot is None:  # one for each perturbation: a stochastic policy's draws depend on its steps so far
            robot = self._robots[perturbation] = self._robot(perturbation)
        runs = self._runs.setdefault(perturbation, [])
        for index in range(len(runs), n):
            seed, draws = (
                episode_seed(self._seed, stream, index) for stream in (_STREAM, f"{_STREAM}/draws")
            )
            runs.append(robot.run(self._environment, seed, draws))
            self._counted()
        return runs[:n]

    def _robot(self, perturbation: Perturbation) -> Robot:
        found, expected = self._environment.spec.policy_spec, self.contract.spec
        if found != expected:
            raise ConfigError(
                f"bundle {self.bundle_digest[:12]} of '{expected.task}' cannot act in '{found.task}' of this "
                "commit: their observations, actions, limits or names differ."
            )
        policy = OnnxPolicy(self._bundle, stream_seed(self._seed, f"{_STREAM}/policy"))
        return Robot(policy, perturbation, self._scale)

    def _time_steps(self) -> NDArray[np.float64]:
        (run,) = self._run(NOMINAL, 1)
        runtime = Runtime(OnnxPolicy(self._bundle))
        durations = np.empty(_TIMED_STEPS + _WARM_UP_STEPS)
        for step in range(len(durations)):
            row = step % len(run.observations)
            if row == 0:
                runtime.clear_stop()
            stamp_ns = time.monotonic_ns()
            began = time.perf_counter()
            runtime.step(run.observations[row], stamp_ns)
            durations[step] = time.perf_counter() - began
        return durations[_WARM_UP_STEPS:]


def entry_ranges(contract: Contract) -> FloatArray:
    """Return the range in training of each float32 entry that a policy sees, packed. Shape (vector_dim,)."""
    envelope = contract.envelope
    ranges = [
        np.subtract(envelope.high[term.name], envelope.low[term.name])
        for term in contract.spec.layout.vector_terms
    ]
    return np.concatenate([*ranges, []]).astype(np.float32)
