"""What runs on a robot: an observation and its stamp in, a decision out. Never an exception, never a clamp.

Each step asks, in this order: has the observation the contract's shape, is it finite, is its stamp
sane, does the episode begin where training has been; then the policy runs; then: is the action
finite, within its bounds, near enough to the last one, in time. The first answer that is no is the
cause; what is done then stands in the contract, for each cause its own (sacpipe/bundle/guard_settings.py).

A step allocates next to nothing, takes no lock, logs nothing and touches no file. It may be called
from one thread only; `swap`, `rollback` and `clear_stop` may be called from any other.
"""

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np

from sacpipe.bundle.contract import check_safe_action
from sacpipe.bundle.guard_settings import CAUSES, VERDICTS, Cause, Fallback, GuardSettings, Verdict
from sacpipe.core.errors import BundleError
from sacpipe.robot.decision import Decision, Observation, Timings
from sacpipe.robot.listeners import Listeners
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

_FLOAT32 = np.dtype(np.float32)
_REASONS: dict[Cause, tuple[Cause, ...]] = {cause: (cause,) for cause in CAUSES}
_NEVER_NS = 2**63


@dataclass(frozen=True, eq=False, slots=True)
class _Armed:
    """A policy with its thresholds in nanoseconds and task units."""

    policy: OnnxPolicy
    blend_steps: int
    max_age_ns: int
    max_future_ns: int
    deadline_ns: int
    max_change: list[float]
    start_low: FloatArray
    start_high: FloatArray
    safe_action: list[float]
    max_last_steps: int
    fallbacks: dict[Cause, Fallback]

    @classmethod
    def of(
        cls, policy: OnnxPolicy, guards: GuardSettings, period_s: float | None, blend_steps: int | None
    ) -> Self:
        spec, envelope = policy.contract.spec, policy.contract.envelope
        period_s = period_s or spec.control_period_s

        def nanoseconds(periods: float) -> int:
            return _NEVER_NS if period_s is None else int(periods * period_s * 1e9)

        low, high = np.array(envelope.low), np.array(envelope.high)
        margin = guards.envelope_margin * (high - low)
        return cls(
            policy=policy,
            blend_steps=guards.blend_steps if blend_steps is None else blend_steps,
            max_age_ns=nanoseconds(guards.max_age_periods),
            max_future_ns=nanoseconds(guards.max_future_periods),
            deadline_ns=nanoseconds(guards.deadline_periods),
            max_change=[guards.max_action_change * (term.high - term.low) for term in spec.action],
            start_low=(low - margin).astype(np.float32),
            start_high=(high + margin).astype(np.float32),
            safe_action=_safe_action(guards, spec),
            max_last_steps=guards.max_last_steps,
            fallbacks={cause: getattr(guards.fallbacks, cause) for cause in CAUSES},
        )


class Runtime:
    """A policy behind its contract's guards.

    Args:
        policy: A verified bundle, ready to act, and used by nobody else.
        guards: Other thresholds and fallbacks than the contract's, e.g. of a slower robot; they stay
            when policies change.
        control_period_s: Between two steps, where it is not the contract's.
        clock_ns: The clock that observations are stamped with, in nanoseconds.

    Raises:
        BundleError: the safe action is none of the task's.
    """

    def __init__(
        self,
        policy: OnnxPolicy,
        *,
        guards: GuardSettings | None = None,
        control_period_s: float | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.spec = policy.contract.spec
        self.causes: dict[Cause, int] = dict.fromkeys(CAUSES, 0)
        """How often each guard said no."""
        self.verdicts: dict[Verdict, int] = dict.fromkeys(VERDICTS, 0)
        """How often each verdict was given."""
        self.stops = 0
        """How often a stop was latched."""
        self.listeners = Listeners()
        self._guards, self._period_s, self._clock_ns = guards, control_period_s, clock_ns
        self._armed = self._wanted = self._arm(policy, 0)
        self._before: OnnxPolicy | None = None
        self._shape = (self.spec.observation_dim,)
        self._observation: FloatArray = np.zeros(self._shape, dtype=np.float32)
        self._terms = _slices(self.spec)
        low, high = self.spec.action_low.tolist(), self.spec.action_high.tolist()
        self._bounds: list[tuple[float, float]] = list(zip(low, high, strict=True))
        self._stop: tuple[Cause, ...] | None = None
        self._blended = 0
        self.episode = -1
        """How often an episode began before the present one."""
        self._leaving = policy
        self.blended_with: OnnxPolicy | None = None
        """The policy before the last swap, where the last step's action is a mean of both."""
        self.begin_episode()

    @property
    def policy(self) -> OnnxPolicy:
        """The policy that acts at the next step."""
        return self._wanted.policy

    @property
    def acting_policy(self) -> OnnxPolicy:
        """The policy of the last step; until the first one, of that."""
        return self._armed.policy

    @property
    def is_stopped(self) -> bool:
        """Whether a stop is latched."""
        return self._stop is not None

    def begin_episode(self) -> None:
        """Forget the last action and stamp; the next observation must lie inside the envelope."""
        self.episode += 1
        self._last: list[float] | None = None
        self._last_stamp_ns = -_NEVER_NS
        self._last_steps = 0
        self._is_start = True

    def clear_stop(self) -> None:
        """Let the policy act again, from the next step on, as at the start of an episode."""
        self.begin_episode()
        self._stop = None

    def swap(self, policy: OnnxPolicy, blend_steps: int | None = None) -> None:
        """Let another policy act from the next step on; the one before stays ready for `rollback`.

        Args:
            policy: For the same task; used by nobody else.
            blend_steps: Over which it takes over; by default its contract says.

        Raises:
            BundleError: it was made for another task; the policy in service goes on.
        """
        policy.check_task(self.spec)
        self._before = self._wanted.policy
        self._wanted = self._arm(policy, blend_steps)

    def rollback(self) -> OnnxPolicy:
        """Let the policy before the last swap act again, from the next step on, and return it.

        Raises:
            BundleError: there was no swap.
        """
        if self._before is None:
            raise BundleError("there is no policy to go back to: this is the first one.")
        self.swap(self._before, 0)
        return self._wanted.policy

    def step(self, observation: Observation, stamp_ns: int) -> Decision:
        """Decide what to do.

        Args:
            observation: Raw; see `Observation`. Not kept.
            stamp_ns: When it was taken, by the runtime's clock.
        """
        start_ns = self._clock_ns()
        if self._wanted is not self._armed:
            self._take_over()
        action: list[float] | None = None
        policy_ns, self.blended_with = 0, None
        cause = self._check_observation(observation, stamp_ns, start_ns)
        if cause is None and self._stop is None:
            before_ns = self._clock_ns()
            action = self._infer()
            policy_ns = self._clock_ns() - before_ns
            cause = self._check_action(action)
            if cause is None and self._clock_ns() - start_ns > self._armed.deadline_ns:
                cause = "deadline_missed"
        if cause is not None:
            self.causes[cause] += 1
        executed, verdict, reasons = self._decide(action, cause)
        self.verdicts[verdict] += 1
        age_ns, step_ns = start_ns - stamp_ns, self._clock_ns() - start_ns
        timings = Timings(age_ns, policy_ns, step_ns)
        executed_action = np.array(executed, dtype=np.float32)
        policy_action = (
            executed_action if verdict == "ok" or action is None else np.array(action, dtype=np.float32)
        )
        decision = Decision(
            executed_action, verdict, reasons, timings, None if action is None else policy_action
        )
        for listener in self.listeners:
            listener(self._observation, stamp_ns, decision)
        return decision

    def warm_up(self) -> None:
        """Run the policy on the last observation for nothing, so that the next step finds warm caches."""
        with contextlib.suppress(Exception):  # the next step will say it
            self._armed.policy.run(self._observation)

    def _arm(self, policy: OnnxPolicy, blend_steps: int | None) -> _Armed:
        return _Armed.of(policy, self._guards or policy.contract.guards, self._period_s, blend_steps)

    def _take_over(self) -> None:
        """Change policies; this thread alone does."""
        self._leaving, self._armed = self._armed.policy, self._wanted
        self._blended = self._armed.blend_steps

    def _check_observation(self, observation: Observation, stamp_ns: int, now_ns: int) -> Cause | None:
        if not self._place(observation):
            return "shape"
        # Float32 cannot overflow a float64 sum: it is finite where all entries are. Faster than NumPy.
        if not math.isfinite(sum(self._observation.tolist())):
            return "observation_not_finite"
        cause = self._check_stamp(stamp_ns, now_ns)
        if cause is None and self._is_start and self._is_outside(self._armed):
            return "start_outside_envelope"
        return cause

    def _check_stamp(self, stamp_ns: int, now_ns: int) -> Cause | None:
        if stamp_ns <= self._last_stamp_ns:
            return "observation_repeated" if stamp_ns == self._last_stamp_ns else "observation_out_of_order"
        age_ns = now_ns - stamp_ns
        if age_ns > self._armed.max_age_ns:
            return "observation_old"
        if -age_ns > self._armed.max_future_ns:
            return "observation_from_future"
        self._last_stamp_ns = stamp_ns
        return None

    def _is_outside(self, armed: _Armed) -> bool:
        seen = self._observation
        return bool((seen < armed.start_low).any() or (seen > armed.start_high).any())

    def _place(self, observation: Observation) -> bool:
        """Copy an observation into our own memory; say False where it has not the contract's shape."""
        if isinstance(observation, np.ndarray):
            if observation.dtype != _FLOAT32 or observation.shape != self._shape:
                return False
            self._observation[:] = observation
            return True
        try:
            if len(observation) != len(self._terms):
                return False
            for name, place, shape in self._terms:
                term = observation[name]
                if term.dtype != _FLOAT32 or term.shape != shape:
                    return False
                self._observation[place] = term
        except (KeyError, IndexError, TypeError, AttributeError):
            return False
        return True

    def _infer(self) -> list[float] | None:
        """Return the policy's action, or the mean of two while one takes over; None where one failed."""
        try:
            action: list[float] = self._armed.policy.run(self._observation).tolist()
            if not self._blended:
                return action
            leaving: list[float] = self._leaving.run(self._observation).tolist()
        except Exception:  # noqa: BLE001 - onnxruntime's errors have no class in common; counted as a cause
            return None
        share = self._blended / (self._armed.blend_steps + 1)
        self._blended -= 1
        self.blended_with = self._leaving
        return [new + share * (old - new) for new, old in zip(action, leaving, strict=True)]

    def _check_action(self, action: list[float] | None) -> Cause | None:
        if action is None:
            return "inference_failed"
        if not math.isfinite(sum(action)):
            return "action_not_finite"
        for value, (low, high) in zip(action, self._bounds, strict=True):
            if not low <= value <= high:
                return "action_outside_bounds"
        if self._last is not None:
            for value, last, most in zip(action, self._last, self._armed.max_change, strict=True):
                if abs(value - last) > most:
                    return "action_change"
        return None

    def _decide(
        self, action: list[float] | None, cause: Cause | None
    ) -> tuple[list[float], Verdict, tuple[Cause, ...]]:
        armed = self._armed
        if self._stop is not None:
            return armed.safe_action, "stopped", self._stop
        fallback = None if cause is None else armed.fallbacks[cause]
        reasons = () if cause is None else _REASONS[cause]
        if action is not None and fallback in (None, "limit"):
            self._last = action if cause is None else self._limited(action)
            self._last_steps, self._is_start = 0, False
            return self._last, "ok" if cause is None else "limited", reasons
        if fallback == "last":
            self._last_steps += 1
        if fallback == "stop" or self._last_steps > armed.max_last_steps:
            self._stop = reasons
            self.stops += 1
            return armed.safe_action, "stopped", reasons
        self._last = self._instead(fallback)
        return self._last, "fallback", reasons

    def _limited(self, action: list[float]) -> list[float]:
        """Bring an action back within its bounds and near the last one."""
        last = action if self._last is None else self._last
        limits = zip(action, last, self._armed.max_change, self._bounds, strict=True)
        return [
            min(max(value, old - most, low), old + most, high) for value, old, most, (low, high) in limits
        ]

    def _instead(self, fallback: Fallback | None) -> list[float]:
        if fallback == "zero":
            return _nearest_to_zero(self.spec)
        if fallback == "safe" or self._last is None:
            return self._armed.safe_action
        return self._last


def _slices(spec: EnvSpec) -> list[tuple[str, slice, tuple[int]]]:
    places, first = [], 0
    for term in spec.observation:
        places.append((term.name, slice(first, first + term.size), (term.size,)))
        first += term.size
    return places


def _safe_action(guards: GuardSettings, spec: EnvSpec) -> list[float]:
    """Return the safe action; without one, zero, or what of the range is nearest to it."""
    if guards.safe_action is None:
        return _nearest_to_zero(spec)
    try:
        check_safe_action(guards.safe_action, spec)
    except ValueError as exc:
        raise BundleError(f"{exc}.") from exc
    return list(guards.safe_action)


def _nearest_to_zero(spec: EnvSpec) -> list[float]:
    return [min(max(0.0, term.low), term.high) for term in spec.action]
