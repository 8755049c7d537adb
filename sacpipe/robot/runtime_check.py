"""The runtime check of the load gate: a runtime of this bundle is built and stepped before it may serve.

The golden check runs the policy alone. A contract may still make every step of the runtime fail or refuse:
so the check builds the runtime as a server's sequences do and steps it over the golden observations, then
over hostile ones. The clock is simulated, so that the check does not depend on the machine's speed.
"""

from collections.abc import Iterator

import numpy as np

from sacpipe.bundle.guard_settings import Cause
from sacpipe.bundle.reader import Bundle
from sacpipe.core.errors import BundleError
from sacpipe.robot.decision import Observation
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

_START_NS = 10**15
_DEFAULT_PERIOD_S = 0.02
"""Simulated control period where the task has no clock, in seconds."""
_AGE_SHARE = 0.1
"""Simulated age of every golden observation, as a share of the control period."""
_FAILURES: tuple[Cause, ...] = ("shape", "inference_failed", "action_not_finite", "action_outside_bounds")
"""Causes that a golden observation may never have. Others depend on what was recorded, such as a jump of the
action between two episodes."""
_MAX_SWAP_STEPS = 3


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
        for row, observation in enumerate(self._golden):
            self._step(observation, f"golden step {row}")
        if failed := {cause: runtime.causes[cause] for cause in _FAILURES if runtime.causes[cause]}:
            raise _refuse("golden observations without a failed step", _shown(failed))
        if not runtime.verdicts["ok"] + runtime.verdicts["limited"]:
            causes = {cause: count for cause, count in runtime.causes.items() if count}
            raise _refuse("the policy's action for at least one golden observation", _shown(causes))
        for name, observation, stamp_ns in self._hostile():
            self._step(observation, name, stamp_ns)
        runtime.swap(runtime.policy.clone_session())
        for row, observation in enumerate(self._golden[:_MAX_SWAP_STEPS]):
            self._step(observation, f"step {row} after a swap")

    def _step(self, observation: Observation, name: str, stamp_ns: int | None = None) -> None:
        runtime = self._runtime
        self._clock.now_ns += self._period_ns
        if runtime.is_stopped:
            runtime.clear_stop()
        proper_ns = self._clock.now_ns - self._age_ns
        decision = runtime.step(observation, proper_ns if stamp_ns is None else stamp_ns)
        if runtime.last_error is not None:
            error = runtime.last_error
            raise _refuse("a step without an error", f"{type(error).__name__} at the {name}: {error}")
        action = decision.action
        if not ((action >= self._low) & (action <= self._high)).all():  # NaN included
            raise _refuse(f"an action from {self._low} to {self._high}", f"{action} at the {name}")

    def _hostile(self) -> Iterator[tuple[str, Observation, int | None]]:
        """Yield name, observation and stamp of steps that a guard has to refuse; None is a proper stamp."""
        good: FloatArray = self._golden[0]
        for value in (np.nan, np.inf, -np.inf, np.finfo(np.float32).max, -np.finfo(np.float32).max):
            yield f"observation of {value}", np.full_like(good, value), None
        yield "longer observation", np.append(good, np.float32(0.0)), None
        yield "observation in float64", good.astype(np.float64), None
        yield "observation by terms", _by_terms(good, self._runtime.spec), None
        yield "observation without terms", {}, None
        for stamp_ns in (0, -(2**63), 2**63 - 1, self._clock.now_ns, self._clock.now_ns):
            yield f"stamp {stamp_ns}", good, stamp_ns


def _by_terms(observation: FloatArray, spec: EnvSpec) -> dict[str, FloatArray]:
    ends = np.cumsum([term.size for term in spec.observation])
    parts = np.split(observation, ends[:-1])
    return {term.name: part for term, part in zip(spec.observation, parts, strict=True)}


def _shown(causes: dict[Cause, int]) -> str:
    return ", ".join(f"{cause}: {count}" for cause, count in causes.items()) or "none"


def _refuse(expected: str, found: str) -> BundleError:
    return BundleError(
        f"runtime: expected {expected}, found {found[:300]}. Correct the `guards` section of params.yaml and "
        "export the policy again.",
        "runtime",
    )
