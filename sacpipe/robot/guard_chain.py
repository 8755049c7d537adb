"""The guards of one runtime asked one after the other, and the action that is executed after a refusal.

Of an observation, in this order: shape, finite values, stamps, frozen sensors, envelope, then guards of other
packages. Of an action: computed, finite, within its bounds, near enough to the last executed action, then
guards of other packages, and the deadline last. The first refusal is the cause; each guard has a fallback.
Where that is `limit`, the later guards judge the limited action, and what they refuse is not executed.
"""

import math
from collections.abc import Callable, Mapping
from operator import index
from typing import NamedTuple

from sacpipe.robot.armed_guards import ArmedGuards, nearest_to_zero
from sacpipe.robot.decision import GivenObservation, Stamps, Verdict
from sacpipe.robot.guards.guard import StepFacts
from sacpipe.robot.observation import ReceivedObservation
from sacpipe.specs.env_spec import EnvSpec


class Executed(NamedTuple):
    """What a step executes."""

    action: list[float]
    """In task units."""
    verdict: Verdict
    reasons: tuple[str, ...]


class GuardChain:
    """The guards of one runtime, with the state of the current episode. For one thread.

    Args:
        spec: The policy's specification.
        armed: The guards of the policy that acts.
        clock_ns: Clock of the stamps, in nanoseconds.
    """

    def __init__(self, spec: EnvSpec, armed: ArmedGuards, clock_ns: Callable[[], int]) -> None:
        self.armed = armed
        """Of the policy that acts; replaced when policies change."""
        self.facts = StepFacts(spec, clock_ns)
        """Facts of the present step."""
        self.stop: tuple[str, ...] | None = None
        """Cause of the latched stop; None where the policy may act."""
        self.stops = 0
        """Number of stops latched so far."""
        self._received = ReceivedObservation(spec, self.facts.observation)
        self._names = [term.name for term in spec.observation]
        self._zero_action = nearest_to_zero(spec)
        self._repeats = 0

    def begin_episode(self) -> None:
        """Forget the last action and stamps. The next observation must be inside the envelope."""
        self.facts.begin_episode()
        self._repeats = 0
        for guard in self.armed.guards:
            guard.begin_episode()

    def check_observation(self, observation: GivenObservation, stamps: Stamps, began_ns: int) -> str | None:
        """Copy an observation and return the guard that refuses it; None where none does."""
        facts, armed = self.facts, self.armed
        facts.began_ns = began_ns
        facts.is_complete = self._received.copy_from(observation)
        if type(stamps) is int:
            facts.stamp_ns = facts.oldest_stamp_ns = stamps
            facts.term_stamps_ns = None
        else:
            self._receive_stamps(stamps)
        cause = None
        for name, refuses in armed.observation:
            if refuses(facts):
                cause = name
                break
        if cause not in armed.discarding:
            facts.last_stamp_ns, facts.last_term_stamps_ns = facts.stamp_ns, facts.term_stamps_ns
        return cause

    def _receive_stamps(self, stamps: Stamps) -> None:
        """Take a stamp of another integer type, or a stamp for each term.

        Raises:
            TypeError: a stamp is no integer. NaN would pass every comparison of the guards.
        """
        facts = self.facts
        facts.term_stamps_ns = None
        if not isinstance(stamps, Mapping):
            facts.stamp_ns = facts.oldest_stamp_ns = index(stamps)
            return
        if stamps.keys() != set(self._names):
            facts.is_complete = False
            facts.stamp_ns = facts.oldest_stamp_ns = facts.began_ns
            return
        own = {name: index(stamps[name]) for name in self._names}
        facts.stamp_ns, facts.oldest_stamp_ns = max(own.values()), min(own.values())
        facts.term_stamps_ns = own

    def check_action(self, action: list[float] | None) -> str | None:
        """Return the guard that refuses an action; None where none does.

        Where its fallback is `limit`, the later guards judge the limited action: one of them may refuse it.

        Args:
            action: In task units, one number an entry; None where the policy failed.
        """
        facts, armed = self.facts, self.armed
        facts.action, cause = action, None
        for name, refuses in armed.action:
            if cause is not None and armed.fallbacks[name] == "limit":
                continue  # the action is within all limits already
            if refuses(facts):
                if action is None or armed.fallbacks[name] != "limit":
                    return name
                cause, facts.action = name, self._limit(action)
        return cause

    def latch_stop(self, cause: str, action: list[float] | None = None) -> Executed:
        """Latch a stop, or keep the one that is latched.

        Args:
            cause: Cause of the stop.
            action: The safe action; None where it cannot be computed, for the allowed action nearest to zero.
        """
        reasons = self.stop
        if reasons is None:
            self.stop = reasons = (cause,)
            self.stops += 1
        return Executed(self._zero_action if action is None else action, "stopped", reasons)

    def decide(self, action: list[float] | None, cause: str | None) -> Executed:
        """Return the action to execute, the verdict and its reasons.

        Args:
            action: The policy's; None where it did not run or failed.
            cause: The first refusal of this step; None where there was none.
        """
        armed, facts = self.armed, self.facts
        if self.stop is not None:
            return Executed(armed.safe_action, "stopped", self.stop)
        if cause is None and action is not None:
            facts.last_action, facts.is_start, self._repeats = action, False, 0
            return Executed(action, "ok", ())
        fallback = None if cause is None else armed.fallbacks[cause]
        reasons = () if cause is None else armed.reasons[cause]
        if fallback == "limit" and action is not None:
            limited = self._limit(action)
            facts.last_action, facts.is_start, self._repeats = limited, False, 0
            return Executed(limited, "limited", reasons)
        if fallback == "last":
            self._repeats += 1
        if fallback == "stop" or self._repeats > armed.max_last_steps:
            self.stop = reasons
            self.stops += 1
            return Executed(armed.safe_action, "stopped", reasons)
        if fallback == "zero":
            executed = self._zero_action
        elif fallback == "safe" or facts.last_action is None:
            executed = armed.safe_action
        else:
            executed = facts.last_action
        facts.last_action = executed
        return Executed(executed, "fallback", reasons)

    def _limit(self, action: list[float]) -> list[float]:
        """Bring an action within all limits, the bounds last.

        Raises:
            ArithmeticError: a guard returned a number that is not finite.
        """
        for guard in self.armed.limits:
            action = guard.limit(self.facts, action)
        if len(action) != len(self._zero_action) or not math.isfinite(sum(action)):
            raise ArithmeticError(f"a limited action is {action}")
        return action
