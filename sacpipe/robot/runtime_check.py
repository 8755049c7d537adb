"""The runtime check of the load gate: a runtime of this bundle is built and stepped before it may serve.

The golden check runs the policy alone. A contract may still make every step of the runtime fail or refuse:
so the check builds the runtime as a server's sequences do and steps it over the golden observations, then
over hostile ones. The clock is simulated, so that the check does not depend on the machine's speed.
"""

from collections.abc import Iterator

import numpy as np

from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import BundleError
from sacpipe.robot.decision import Decision, GivenObservation, Stamps
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.observation import Observation

_START_NS = 10**15
_DEFAULT_PERIOD_S = 0.02
"""Simulated control period where the task has no clock, in seconds."""
_AGE_SHARE = 0.1
"""Simulated age of every golden observation, as a share of the control period."""
_FAILURES = ("shape", "inference_failed", "action_not_finite", "action_outside_bounds")
"""Causes that a golden observation may never have. Others depend on what was recorded, such as a jump of the
action between two episodes."""
_MAX_SWAP_STEPS = 3
_HUNG_NS = 2**62
"""Simulated time without a step, in nanoseconds, after which every watchdog stops the robot."""


class _Clock:
    """A simulated clock that stands still within a step."""

    def __init__(self) -> None:
        self.now_ns = _START_NS

    def __call__(self) -> int:
        return self.now_ns


def check_runtime(policy: OnnxPolicy, bundle: Bundle) -> None:
    """Build the runtime of a bundle and step it.

    Args:
        policy: The bundle's policy. No other object may run it meanwhile.
        bundle: Its golden sequence is stepped.

    Raises:
        BundleError: the runtime cannot be built, a step failed, an action is not executable, or no golden
            observation got the policy's action. The rule is `runtime`.
    """
    clock = _Clock()
    try:
        runtime = Runtime(policy, clock_ns=clock)
        _Check(runtime, clock, bundle).run()
    except BundleError as exc:
        raise BundleError(str(exc), "runtime") from exc
    except Exception as exc:
        raise _refuse("a runtime that can be built", f"{type(exc).__name__}: {exc}") from exc


class _Check:
    """One check: a runtime, its simulated clock, and the steps so far."""

    def __init__(self, runtime: Runtime, clock: _Clock, bundle: Bundle) -> None:
        self._runtime, self._clock, self._golden = runtime, clock, bundle.golden.observations
        spec = runtime.spec
        self._low, self._high = spec.action_low, spec.action_high
        period_s = spec.control_period_s or _DEFAULT_PERIOD_S
        self._period_ns = max(1, int(period_s * 1e9))
        self._age_ns = int(_AGE_SHARE * period_s * 1e9)

    def run(self) -> None:
        """Step the golden observations, the hostile ones, and across a swap."""
        runtime = self._runtime
        for row in range(len(self._golden.vector)):
            self._step(self._golden.rows(row), f"golden step {row}")
        if failed := {cause: runtime.causes[cause] for cause in _FAILURES if runtime.causes[cause]}:
            raise _refuse("golden observations without a failed step", _shown(failed))
        if not runtime.verdicts["ok"] + runtime.verdicts["limited"]:
            causes = {cause: count for cause, count in runtime.causes.items() if count}
            raise _refuse("the policy's action for at least one golden observation", _shown(causes))
        for name, observation, stamp_ns in self._hostile():
            self._step(observation, name, stamp_ns)
        runtime.swap(runtime.policy.clone_session())
        for row in range(min(len(self._golden.vector), _MAX_SWAP_STEPS)):
            self._step(self._golden.rows(row), f"step {row} after a swap")
        stopped = runtime.check_watchdog(self._clock.now_ns + _HUNG_NS)
        if stopped is not None:
            self._check_action(stopped, "stop by the watchdog")

    def _step(self, observation: GivenObservation, name: str, stamps: Stamps | None = None) -> None:
        runtime = self._runtime
        self._clock.now_ns += self._period_ns
        if runtime.is_stopped:
            runtime.clear_stop()
        proper_ns = self._clock.now_ns - self._age_ns
        decision = runtime.step(observation, proper_ns if stamps is None else stamps)
        if runtime.last_error is not None:
            error = runtime.last_error
            raise _refuse("a step without an error", f"{type(error).__name__} at the {name}: {error}")
        self._check_action(decision, name)

    def _check_action(self, decision: Decision, name: str) -> None:
        action = decision.action
        if not ((action >= self._low) & (action <= self._high)).all():  # NaN included
            raise _refuse(f"an action from {self._low} to {self._high}", f"{action} at the {name}")

    def _hostile(self) -> Iterator[tuple[str, GivenObservation, Stamps | None]]:
        """Yield name, observation and stamps of steps of a careless robot; None is a proper stamp."""
        good = self._golden.rows(0)
        largest = float(np.finfo(np.float32).max)
        for value in (np.nan, np.inf, -np.inf, largest, -largest):
            yield f"observation of {value}", _filled(good, value), None
        yield "longer observation", {name: np.append(term, term) for name, term in good.items()}, None
        yield "observation in float64", {name: np.asarray(term, float) for name, term in good.items()}, None
        yield "observation by terms", dict(good), None
        yield "observation without terms", {}, None
        yield "observation as one vector", good.vector, None
        for stamp_ns in (0, -(2**63), 2**63 - 1, self._clock.now_ns, self._clock.now_ns):
            yield f"stamp {stamp_ns}", good, stamp_ns
            yield f"stamp {stamp_ns} for each term", good, dict.fromkeys(good, stamp_ns)
        yield "observation without stamps", good, {}


def _filled(observation: Observation, value: float) -> Observation:
    filled = observation.copy()
    filled.vector.fill(value)
    return filled


def _shown(causes: dict[str, int]) -> str:
    return ", ".join(f"{cause}: {count}" for cause, count in causes.items()) or "none"


def _refuse(expected: str, found: str) -> BundleError:
    return BundleError(
        f"runtime: expected {expected}, found {found[:300]}. Correct the `runtime` section of params.yaml "
        "and export the policy again.",
        "runtime",
    )
