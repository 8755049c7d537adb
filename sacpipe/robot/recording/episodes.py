"""Transitions out of what a control loop hands over, step by step.

Two observations that follow each other make a transition. One that was refused, late or dropped
leaves a gap: the episode goes on under another id, as neither terminated nor truncated.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from sacpipe.bundle.contract import contract_sha256
from sacpipe.bundle.guard_settings import Cause
from sacpipe.robot.decision import Decision
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.recording.format import RecordedPolicy, RecordedStep
from sacpipe.specs.env_spec import EnvSpec, to_unit_range
from sacpipe.specs.records import FloatArray, Transition

NO_OBSERVATION: frozenset[Cause] = frozenset(
    {
        "shape",
        "observation_not_finite",
        "observation_old",
        "observation_from_future",
        "observation_repeated",
        "observation_out_of_order",
    }
)
"""Causes for which a step saw nothing that a policy could learn from."""


_LARGEST = float(np.finfo(np.float32).max)


class Heard(NamedTuple):
    """A step of the runtime."""

    number: int
    """Of the step, from 1; a number that is left out was dropped."""
    episode: int
    """The runtime's count."""
    observation: FloatArray | None
    """None where it was refused, or the robot stood still."""
    stamp_ns: int
    decision: Decision
    policy: OnnxPolicy


class Outcome(NamedTuple):
    """What became of a step."""

    number: int
    reward: float | None
    executed_action: FloatArray | None
    """In task units, where it was not the decision's."""


class End(NamedTuple):
    """What the last step of an episode led to."""

    number: int
    observation: FloatArray
    stamp_ns: int
    terminated: bool
    truncated: bool


class Episodes:
    """Puts steps together to transitions; keeps one step until it knows what that led to."""

    def __init__(self, spec: EnvSpec) -> None:
        self._shape, self._action_shape = (spec.observation_dim,), (spec.action_dim,)
        self._rescale = to_unit_range(spec)
        self._open: Heard | None = None
        self._outcome = Outcome(0, None, None)
        self._policies: dict[str, RecordedPolicy] = {}
        self._episode_id = 0
        self.gaps = 0
        """Times an episode could not be followed from one step to the next."""

    def take(self, item: Heard | Outcome | End) -> Iterator[tuple[Transition, RecordedStep]]:
        """Take what comes next, and give the transition that is whole by it, if one is."""
        if isinstance(item, Outcome):
            self._outcome = item
        elif isinstance(item, Heard):
            is_next = (item.number - 1, item.episode) == self._place()
            yield from self._finish(item.observation if is_next else None, item.stamp_ns, None)
            self._open = None if item.observation is None else item
        else:
            is_its_end = self._open is not None and item.number == self._open.number
            yield from self._finish(self._checked(item) if is_its_end else None, item.stamp_ns, item)

    def _place(self) -> tuple[int, int] | None:
        return None if self._open is None else (self._open.number, self._open.episode)

    def _finish(
        self, following: FloatArray | None, stamp_ns: int, end: End | None
    ) -> Iterator[tuple[Transition, RecordedStep]]:
        """Give the open step's transition, or leave a gap where it cannot be made."""
        step, self._open = self._open, None
        if step is None or step.observation is None:
            return
        told = self._outcome if self._outcome.number == step.number else Outcome(step.number, None, None)
        executed_action = step.decision.action if told.executed_action is None else told.executed_action
        action, reward = self._in_unit_range(executed_action), told.reward or 0.0
        is_sound = abs(reward) <= _LARGEST and stamp_ns > step.stamp_ns  # NaN is not
        episode_id = self._episode_id
        if following is None or action is None or not is_sound:
            self.gaps += 1
            self._episode_id += 1
            return
        terminated, truncated = False, False
        if end is not None:
            terminated, truncated = end.terminated, end.truncated
            self._episode_id += 1
        yield (
            Transition(step.observation, action, reward, following, terminated, truncated, episode_id),
            self._describe(step, stamp_ns, executed_action, has_reward=told.reward is not None),
        )

    def _in_unit_range(self, executed_action: FloatArray) -> FloatArray | None:
        """Return an action in [-1, 1]; None where it is none of the task's, or outside its bounds."""
        if executed_action.shape != self._action_shape:
            return None
        action = self._rescale(executed_action)
        return action if (np.abs(action) <= 1.0).all() else None  # NaN is not

    def _describe(
        self, step: Heard, next_stamp_ns: int, executed_action: FloatArray, *, has_reward: bool
    ) -> RecordedStep:
        decision = step.decision
        policy_action = decision.policy_action
        return RecordedStep(
            stamp_ns=step.stamp_ns,
            next_stamp_ns=next_stamp_ns,
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

    def _checked(self, end: End) -> FloatArray | None:
        seen = end.observation
        return seen if seen.shape == self._shape and math.isfinite(sum(seen.tolist())) else None
