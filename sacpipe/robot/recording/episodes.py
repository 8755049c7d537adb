"""Transitions from the steps of a control loop.

Two observations that follow each other make a transition. An observation that was refused, late or dropped
leaves a gap: the episode goes on under another id, and its last transition is neither terminated nor
truncated.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from sacpipe.bundle.contract import contract_sha256
from sacpipe.robot.decision import Decision
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.recording.format import RecordedPolicy, RecordedStep
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.observation import Observation
from sacpipe.specs.records import FloatArray, Transition

_LARGEST = float(np.finfo(np.float32).max)


class RuntimeStep(NamedTuple):
    """A step of the runtime, as the recorder received it."""

    number: int
    """Number of the step, from 1. A missing number is a step that was dropped."""
    episode: int
    """Number of the episode, as the runtime counts."""
    observation: Observation | None
    """Observation; None where it is no data, or the robot was stopped."""
    stamp_ns: int
    """Stamp of the observation, in nanoseconds of the runtime's clock; the newest of its terms."""
    term_stamps_ns: Mapping[str, int] | None
    """Stamp of each term; None where the observation had one stamp."""
    decision: Decision
    policy: OnnxPolicy
    """The policy that acted."""


class StepOutcome(NamedTuple):
    """What the robot reports about a step after it executed the action."""

    number: int
    """Number of the step."""
    reward: float | None
    """Reward; None where the robot has none."""
    executed_action: FloatArray | None
    """Executed action, in task units; None where the decision's action was executed. Shape (action_dim,)."""


class EpisodeEnd(NamedTuple):
    """The observation after the last step of an episode."""

    number: int
    """Number of the last step."""
    observation: Observation | None
    """None where it has not the terms of the task."""
    stamp_ns: int
    """Stamp of the observation, in nanoseconds of the runtime's clock; the newest of its terms."""
    terminated: bool
    truncated: bool


class EpisodeAssembler:
    """Makes transitions of steps. A step stays open until its next observation arrives."""

    def __init__(self, spec: EnvSpec) -> None:
        self._action_shape = (spec.action_dim,)
        self._rescale = to_unit_range(spec)
        self._open: RuntimeStep | None = None
        self._outcome = StepOutcome(0, None, None)
        self._policies: dict[str, RecordedPolicy] = {}
        self._episode_id = 0
        self.gaps = 0
        """Number of steps that made no transition, for example the step before a refused observation."""

    def add(self, item: RuntimeStep | StepOutcome | EpisodeEnd) -> Iterator[tuple[Transition, RecordedStep]]:
        """Add the next item, and yield the transition that it completes, if it completes one."""
        if isinstance(item, StepOutcome):
            self._outcome = item
        elif isinstance(item, RuntimeStep):
            is_next = (item.number - 1, item.episode) == self._open_step()
            yield from self._complete(item.observation if is_next else None, item.stamp_ns, None)
            self._open = None if item.observation is None else item
        else:
            is_of_open_step = self._open is not None and item.number == self._open.number
            yield from self._complete(
                _finite(item.observation) if is_of_open_step else None, item.stamp_ns, item
            )

    def _open_step(self) -> tuple[int, int] | None:
        """Return number and episode of the open step."""
        return None if self._open is None else (self._open.number, self._open.episode)

    def _complete(
        self, next_observation: Observation | None, stamp_ns: int, end: EpisodeEnd | None
    ) -> Iterator[tuple[Transition, RecordedStep]]:
        """Yield the open step's transition; count a gap where it has no next observation or is not valid."""
        step, self._open = self._open, None
        if step is None or step.observation is None:
            return
        outcome = self._outcome
        if outcome.number != step.number:
            outcome = StepOutcome(step.number, None, None)
        executed_action = step.decision.action if outcome.executed_action is None else outcome.executed_action
        action, reward = self._in_unit_range(executed_action), outcome.reward or 0.0
        is_valid = abs(reward) <= _LARGEST and stamp_ns > step.stamp_ns  # NaN is not
        episode_id = self._episode_id
        if next_observation is None or action is None or not is_valid:
            self.gaps += 1
            self._episode_id += 1
            return
        terminated, truncated = False, False
        if end is not None:
            terminated, truncated = end.terminated, end.truncated
            self._episode_id += 1
        yield (
            Transition(step.observation, action, reward, next_observation, terminated, truncated, episode_id),
            self._describe(step, stamp_ns, executed_action, has_reward=outcome.reward is not None),
        )

    def _in_unit_range(self, executed_action: FloatArray) -> FloatArray | None:
        """Return an action in [-1, 1]; None where it has not the task's shape, or is out of bounds."""
        if executed_action.shape != self._action_shape:
            return None
        action = self._rescale(executed_action)
        return action if (np.abs(action) <= 1.0).all() else None  # NaN is not

    def _describe(
        self, step: RuntimeStep, next_stamp_ns: int, executed_action: FloatArray, *, has_reward: bool
    ) -> RecordedStep:
        decision = step.decision
        policy_action = decision.policy_action
        return RecordedStep(
            stamp_ns=step.stamp_ns,
            next_stamp_ns=next_stamp_ns,
            term_stamps_ns=step.term_stamps_ns,
            policy=self._policy(step.policy),
            verdict=decision.verdict,
            cause=decision.reasons[0] if decision.reasons else None,
            has_reward=has_reward,
            executed_action=executed_action,
            policy_action=policy_action
            if policy_action is not None and np.isfinite(policy_action).all()
            else None,
        )

    def _policy(self, policy: OnnxPolicy) -> RecordedPolicy:
        if policy.digest not in self._policies:
            self._policies[policy.digest] = RecordedPolicy(
                bundle_sha256=policy.digest, contract_sha256=contract_sha256(policy.contract)
            )
        return self._policies[policy.digest]


def _finite(observation: Observation | None) -> Observation | None:
    """Return an observation; None where an entry is not finite."""
    is_finite = observation is not None and np.isfinite(observation.vector).all()
    return observation if is_finite else None
