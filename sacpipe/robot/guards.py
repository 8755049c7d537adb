"""The runtime's guards: checks of each observation and each action, and the action executed after a refusal.

Of an observation, in this order: shape, finite values, stamp, and at the start of an episode the envelope.
Of an action: computed, finite, within its bounds, near enough to the last executed action. The runtime
checks the deadline last. The first refusal is the cause, and the contract names a fallback for each cause.
Thresholds and fallbacks are settings, see sacpipe/bundle/guard_settings.py.
"""

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from sacpipe.bundle.contract import Contract, check_safe_action
from sacpipe.bundle.guard_settings import CAUSES, Cause, Fallback, GuardSettings, Verdict
from sacpipe.core.errors import BundleError
from sacpipe.robot.decision import Observation
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

_FLOAT32 = np.dtype(np.float32)
_REASONS: dict[Cause, tuple[Cause, ...]] = {cause: (cause,) for cause in CAUSES}
_NEVER_NS = 2**63


@dataclass(frozen=True, eq=False, slots=True)
class Thresholds:
    """Guard settings in nanoseconds and task units, so that a step converts nothing."""

    max_age_ns: int
    max_future_ns: int
    deadline_ns: int
    max_change: list[float]
    """Largest change of each action entry from one step to the next, in task units."""
    start_low: FloatArray
    """Lowest first observation of an episode. Shape (observation_dim,)."""
    start_high: FloatArray
    """Highest first observation of an episode. Shape (observation_dim,)."""
    safe_action: list[float]
    max_last_steps: int
    fallbacks: dict[Cause, Fallback]

    @classmethod
    def of(cls, guards: GuardSettings, contract: Contract, period_s: float | None) -> Self:
        """Convert the settings for one contract.

        Args:
            guards: The settings.
            contract: Its spec has the ranges of the actions, its envelope those of the observations.
            period_s: Control period; None where the task has no clock, and times are not checked.

        Raises:
            BundleError: the safe action has another size than the task's actions, or is out of bounds.
        """

        def nanoseconds(periods: float) -> int:
            return _NEVER_NS if period_s is None else int(min(periods * period_s * 1e9, _NEVER_NS))

        low, high = np.array(contract.envelope.low), np.array(contract.envelope.high)
        margin = guards.envelope_margin * (high - low)
        return cls(
            max_age_ns=nanoseconds(guards.max_age_periods),
            max_future_ns=nanoseconds(guards.max_future_periods),
            deadline_ns=nanoseconds(guards.deadline_periods),
            max_change=[guards.max_action_change * (term.high - term.low) for term in contract.spec.action],
            start_low=_to_float32(low - margin),
            start_high=_to_float32(high + margin),
            safe_action=_safe_action(guards, contract.spec),
            max_last_steps=guards.max_last_steps,
            fallbacks={cause: getattr(guards.fallbacks, cause) for cause in CAUSES},
        )


def _to_float32(values: NDArray[np.float64]) -> FloatArray:
    """Round to float32; a number beyond its range becomes the largest one."""
    largest = np.finfo(np.float32).max
    return np.clip(values, -largest, largest).astype(np.float32)


class Guards:
    """The guards of one runtime, with the state of the current episode. For one thread."""

    def __init__(self, spec: EnvSpec, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        """Of the policy that acts; replaced when policies change."""
        self.observation: FloatArray = np.zeros(spec.observation_dim, dtype=np.float32)
        """The last observation of the contract's shape, in memory of our own. Shape (observation_dim,)."""
        self.stop: tuple[Cause, ...] | None = None
        """Cause of the latched stop; None where the policy may act."""
        self.stops = 0
        """Number of stops latched so far."""
        self._shape, self._terms = (spec.observation_dim,), _slices(spec)
        low, high = spec.action_low.tolist(), spec.action_high.tolist()
        self._bounds: list[tuple[float, float]] = list(zip(low, high, strict=True))
        self._zero_action = _nearest_to_zero(spec)
        self.begin_episode()

    def begin_episode(self) -> None:
        """Forget the last action and stamp. The next observation must be inside the envelope."""
        self._last_action: list[float] | None = None
        self._last_stamp_ns = -_NEVER_NS
        self._repeats = 0
        self._is_start = True

    def check_observation(self, observation: Observation, stamp_ns: int, now_ns: int) -> Cause | None:
        """Copy an observation into `self.observation` and return why it is refused; None where it is not."""
        if not self._copy(observation):
            return "shape"
        # Float32 cannot overflow a float64 sum: it is finite where all entries are. Faster than NumPy.
        if not math.isfinite(sum(self.observation.tolist())):
            return "observation_not_finite"
        cause = self._check_stamp(stamp_ns, now_ns)
        if cause is None and self._is_start and self._is_outside_envelope():
            return "start_outside_envelope"
        return cause

    def _copy(self, observation: Observation) -> bool:
        """Copy an observation into our own memory; return False where it has not the contract's shape."""
        if isinstance(observation, np.ndarray):
            if observation.dtype != _FLOAT32 or observation.shape != self._shape:
                return False
            self.observation[:] = observation
            return True
        try:
            if len(observation) != len(self._terms):
                return False
            for name, place, shape in self._terms:
                term = observation[name]
                if term.dtype != _FLOAT32 or term.shape != shape:
                    return False
                self.observation[place] = term
        except (KeyError, IndexError, TypeError, AttributeError):
            return False
        return True

    def _check_stamp(self, stamp_ns: int, now_ns: int) -> Cause | None:
        if stamp_ns <= self._last_stamp_ns:
            return "observation_repeated" if stamp_ns == self._last_stamp_ns else "observation_out_of_order"
        age_ns = now_ns - stamp_ns
        if age_ns > self.thresholds.max_age_ns:
            return "observation_old"
        if -age_ns > self.thresholds.max_future_ns:
            return "observation_from_future"
        self._last_stamp_ns = stamp_ns
        return None

    def _is_outside_envelope(self) -> bool:
        first, thresholds = self.observation, self.thresholds
        return bool((first < thresholds.start_low).any() or (first > thresholds.start_high).any())

    def check_action(self, action: list[float] | None) -> Cause | None:
        """Return why the policy's action is refused; None where it is not.

        Args:
            action: In task units, one number an entry; None where the policy failed.
        """
        if action is None:
            return "inference_failed"
        if not math.isfinite(sum(action)):
            return "action_not_finite"
        for value, (low, high) in zip(action, self._bounds, strict=True):
            if not low <= value <= high:
                return "action_outside_bounds"
        if self._last_action is not None:
            changes = zip(action, self._last_action, self.thresholds.max_change, strict=True)
            for value, last, max_change in changes:
                if abs(value - last) > max_change:
                    return "action_change"
        return None

    def latch_stop(self, cause: Cause) -> tuple[list[float], Verdict, tuple[Cause, ...]]:
        """Latch a stop where no fallback can be computed; return what `decide` returns."""
        self.stops += self.stop is None
        self.stop = _REASONS[cause]
        return self._zero_action, "stopped", self.stop

    def decide(
        self, action: list[float] | None, cause: Cause | None
    ) -> tuple[list[float], Verdict, tuple[Cause, ...]]:
        """Return the action to execute, the verdict and its reasons.

        Args:
            action: The policy's; None where it did not run or failed.
            cause: The first refusal of this step; None where there was none.
        """
        thresholds = self.thresholds
        if self.stop is not None:
            return thresholds.safe_action, "stopped", self.stop
        fallback = None if cause is None else thresholds.fallbacks[cause]
        reasons = () if cause is None else _REASONS[cause]
        if action is not None and fallback in (None, "limit"):
            self._last_action = action if cause is None else self._limit(action)
            self._repeats, self._is_start = 0, False
            return self._last_action, "ok" if cause is None else "limited", reasons
        if fallback == "last":
            self._repeats += 1
        if fallback == "stop" or self._repeats > thresholds.max_last_steps:
            self.stop = reasons
            self.stops += 1
            return thresholds.safe_action, "stopped", reasons
        self._last_action = self._fallback_action(fallback)
        return self._last_action, "fallback", reasons

    def _limit(self, action: list[float]) -> list[float]:
        """Bring an action within its bounds, and near enough to the last one where there is one."""
        if self._last_action is None:
            return [
                min(max(value, low), high) for value, (low, high) in zip(action, self._bounds, strict=True)
            ]
        limits = zip(action, self._last_action, self.thresholds.max_change, self._bounds, strict=True)
        return [
            min(max(value, last - max_change, low), last + max_change, high)
            for value, last, max_change, (low, high) in limits
        ]

    def _fallback_action(self, fallback: Fallback | None) -> list[float]:
        if fallback == "zero":
            return self._zero_action
        if fallback == "safe" or self._last_action is None:
            return self.thresholds.safe_action
        return self._last_action


def _slices(spec: EnvSpec) -> list[tuple[str, slice, tuple[int]]]:
    """Return name, place in the vector and shape of every observation term."""
    places, first = [], 0
    for term in spec.observation:
        places.append((term.name, slice(first, first + term.size), (term.size,)))
        first += term.size
    return places


def _safe_action(guards: GuardSettings, spec: EnvSpec) -> list[float]:
    """Return the safe action; where the settings have none, the allowed action nearest to zero."""
    if guards.safe_action is None:
        return _nearest_to_zero(spec)
    try:
        check_safe_action(guards.safe_action, spec)
    except ValueError as exc:
        raise BundleError(f"{exc}.") from exc
    return list(guards.safe_action)


def _nearest_to_zero(spec: EnvSpec) -> list[float]:
    return [min(max(0.0, term.low), term.high) for term in spec.action]
