"""Rewards and terminations of a goal task's recorded steps, by the task's own functions of its goals.

A goal task has the methods `compute_reward` and `compute_terminated` of Gymnasium-Robotics' `GoalEnv`,
functions of achieved goal, desired goal and `info`. Hindsight relabelling (Andrychowicz et al. 2017,
arXiv:1707.01495) exchanges the desired goal of recorded steps and calls them again.
"""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.fence import first_error
from sacpipe.envs.base import ComputeRewards, Simulator
from sacpipe.envs.foreign_code import describe_error
from sacpipe.envs.observation_reader import ObservationPart
from sacpipe.envs.step_values import UnexpectedValueError
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation, stacked
from sacpipe.specs.records import FloatArray

_LOGGER = logging.getLogger(__name__)
_ACHIEVED, _DESIRED = "achieved_goal", "desired_goal"
_RELATIVE, _ABSOLUTE = 1e-4, 1e-5
"""Largest difference between a step's reward and the one that is computed of rounded observations."""
_COMPARED = (0.0, 1.0, -1.0, 1.0)
"""Actions of the compared steps, all coordinates alike: one step of a task may agree by chance."""

Goals = NDArray[Any] | dict[str, Any]
"""N goals in the task's own form: an array, or mappings of arrays with a first axis of N."""
_Call = Callable[[Any, Any, dict[str, Any]], Any]


def goal_rewards(
    env: Any, parts: Sequence[ObservationPart], simulator: Simulator, spec: EnvSpec
) -> ComputeRewards | None:
    """Return the reward function of a goal task, after comparing it with a step of the task.

    Args:
        env: The environment without Gymnasium's own wrappers. A wrapper of the registration, which may change
            rewards, has no such functions.
        parts: Arrays of the observation.
        simulator: Simulator of the same environment; it runs one step.
        spec: Specification of the task.

    Returns:
        None for a task without goals, one that lacks a function, and one whose rewards or terminations are
        not what the functions return: they depend on more than goals, e.g. on `info` or the episode so far.
    """
    reward, terminated = getattr(env, "compute_reward", None), getattr(env, "compute_terminated", None)
    entries = {part.path[0] for part in parts if part.path}
    if not ({_ACHIEVED, _DESIRED} <= entries and callable(reward) and callable(terminated)):
        return None
    found = _GoalRewards(reward, terminated, parts)
    error = first_error(lambda: found.compare(simulator, spec))
    if error is not None:
        text = "task '%s': compute_reward() and compute_terminated() are not used: %s"
        _LOGGER.info(text, spec.task, describe_error(error))
        return None
    return found


class _GoalRewards:
    """A function from recorded steps to rewards and terminations."""

    def __init__(self, reward: _Call, terminated: _Call, parts: Sequence[ObservationPart]) -> None:
        self._reward, self._terminated = _Function(reward), _Function(terminated)
        self._achieved = [part for part in parts if part.path[:1] == (_ACHIEVED,)]
        self._desired = [part for part in parts if part.path[:1] == (_DESIRED,)]

    def __call__(
        self, _observations: Observation, _actions: FloatArray, next_observations: Observation
    ) -> tuple[FloatArray, FloatArray]:
        """Compute rewards and terminations of the goals that the next observations have. Shapes (N,)."""
        achieved = _goals(next_observations, self._achieved)
        desired = _goals(next_observations, self._desired)
        count = len(next_observations.vector)
        return self._reward(achieved, desired, count), self._terminated(achieved, desired, count)

    def compare(self, simulator: Simulator, spec: EnvSpec) -> None:
        """Run some steps and compare; find out which of the functions takes several rows at once.

        Raises:
            UnexpectedValueError: a step has another reward or termination.
            Exception: what the task raised.
        """
        first = simulator.start(0)
        for value in _COMPARED:
            action = spec.to_task_units(np.full(spec.action_dim, value, dtype=np.float32))
            after, reward, terminated, truncated, *_ = simulator.advance(action)
            self._compare_step(stacked([after, after, first]), float(reward), float(terminated))
            if terminated or truncated:
                break

    def _compare_step(self, rows: Observation, reward: float, terminated: float) -> None:
        """Compare what a step gave with the functions of the first of some rows, its observation."""
        achieved, desired = _goals(rows, self._achieved), _goals(rows, self._desired)
        desired = _mixed(desired, achieved)
        for function, own in ((self._reward, reward), (self._terminated, terminated)):
            found = float(function.compare_rows(achieved, desired, len(rows.vector))[0])
            if not math.isclose(found, own, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
                raise UnexpectedValueError(f"a step has {own}, the function of its goals {found}")


class _Function:
    """One of the two functions: called once for all rows where it takes them, else once a row."""

    def __init__(self, call: _Call) -> None:
        self._call, self._takes_rows = call, False

    def __call__(self, achieved: Goals, desired: Goals, count: int) -> FloatArray:
        """Return the value of each of `count` rows."""
        if self._takes_rows:
            return np.asarray(self._call(achieved, desired, {}), dtype=np.float32)
        pairs = zip(_rows(achieved, count), _rows(desired, count), strict=True)
        return np.array([self._call(one, other, {}) for one, other in pairs], dtype=np.float32)

    def compare_rows(self, achieved: Goals, desired: Goals, count: int) -> FloatArray:
        """Return the value of each row, one by one; if all at once are the same, call it so from now on.

        A function of one row may take several without an error: a norm without an axis returns one number.
        """
        single = self(achieved, desired, count)
        self._takes_rows = first_error(lambda: self._compare(single, achieved, desired)) is None
        return single

    def _compare(self, single: FloatArray, achieved: Goals, desired: Goals) -> None:
        found = np.asarray(self._call(achieved, desired, {}), dtype=np.float32)
        if found.shape != single.shape or not np.allclose(found, single, rtol=1e-6, atol=0.0):
            raise UnexpectedValueError(f"expected the values of the rows, {single}, found {found}")


def _goals(observations: Observation, parts: Sequence[ObservationPart]) -> Goals:
    """Return goals in the task's own form and, as the task computes, in float64."""
    if len(parts[0].path) == 1:
        return _array(observations, parts[0])
    nested: dict[str, Any] = {}
    for part in parts:
        place = nested
        for key in part.path[1:-1]:
            place = place.setdefault(key, {})
        place[part.path[-1]] = _array(observations, part)
    return nested


def _array(observations: Observation, part: ObservationPart) -> NDArray[Any]:
    if part.is_image:
        return observations[part.terms[0].name]
    count = len(observations.vector)
    columns = [observations[term.name].reshape(count, term.size) for term in part.terms]
    return np.concatenate(columns, axis=1).astype(np.float64).reshape(count, *part.shape)


def _rows(goals: Goals, count: int) -> Iterator[Goals]:
    if not isinstance(goals, dict):
        yield from goals
        return
    entries = {key: _rows(entry, count) for key, entry in goals.items()}
    for _ in range(count):
        yield {key: next(entry) for key, entry in entries.items()}


def _mixed(desired: Goals, achieved: Goals) -> Goals:
    """Return goals of three rows whose second is the achieved one, so that one is reached."""
    if isinstance(desired, dict) and isinstance(achieved, dict):
        return {key: _mixed(entry, achieved[key]) for key, entry in desired.items()}
    mixed = np.array(desired)
    mixed[1] = np.asarray(achieved)[1]
    return mixed
