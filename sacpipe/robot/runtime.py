"""The runtime of a robot: an observation and its stamps in, a decision out. No exception, no clamp.

An unforeseen exception becomes the cause `inference_failed`, so that it is counted, recorded and a
reason for a rollback like an error of onnxruntime; `Runtime.last_error` keeps it.

Each step checks the observation, runs the policy, checks the action, and then checks that the step met its
deadline. The first refusal is the cause of a fallback (sacpipe/robot/guard_chain.py).

A step allocates next to nothing, takes no lock, logs nothing and touches no file. One thread alone calls
`step` and `begin_episode`; any thread may call `swap`, `rollback`, `halt`, `clear_stop` and `check_watchdog`.
A stop is cleared by the next step: only the stepping thread changes guards and episode.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sacpipe.bundle.guards import GUARDS, WATCHDOG
from sacpipe.bundle.runtime_settings import RuntimeSettings
from sacpipe.core.errors import BundleError
from sacpipe.robot.armed_guards import ArmedGuards
from sacpipe.robot.decision import VERDICTS, Decision, GivenObservation, Stamps, Timings, Verdict
from sacpipe.robot.guard_chain import Executed, GuardChain
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import Listeners
from sacpipe.specs.records import FloatArray

NO_POLICY = "no_policy"
"""Cause of a stop because no policy may act; no guard has this name."""


@dataclass(frozen=True, eq=False, slots=True)
class _ReadyPolicy:
    """A policy with its guards: one object, so that a swap from another thread replaces both at once."""

    policy: OnnxPolicy
    guards: ArmedGuards
    blend_steps: int
    """Number of steps over which the policy takes over from the one before."""


class Runtime:
    """A policy behind its contract's guards.

    Args:
        policy: A verified bundle, ready to act. No other object may run it.
        settings: Settings that replace the contract's, for example of a slower robot. They stay when policies
            change.
        control_period_s: Time between two steps where it is not the contract's, in seconds.
        clock_ns: Clock of the observations' stamps, in nanoseconds.

    Raises:
        BundleError: a guard or the safe action does not fit the contract.
    """

    def __init__(
        self,
        policy: OnnxPolicy,
        *,
        settings: RuntimeSettings | None = None,
        control_period_s: float | None = None,
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.spec = policy.contract.spec
        self.causes: dict[str, int] = dict.fromkeys((*GUARDS.ours, WATCHDOG, NO_POLICY), 0)
        """Number of refusals by each guard, and of stops by the watchdog and by `halt`. A guard of another
        package is added at its first refusal."""
        self.verdicts: dict[Verdict, int] = dict.fromkeys(VERDICTS, 0)
        """Number of steps by verdict."""
        self.listeners = Listeners()
        self.episode = 0
        """Number of the current episode, from 0."""
        self.blended_with: OnnxPolicy | None = None
        """During a blend, the policy that is being replaced; else None."""
        self.last_error: Exception | None = None
        """The last unforeseen exception of a step or of a listener; None where there was none."""
        self.listener_errors = 0
        """Number of exceptions of listeners. The step is executed, and the listener is called again."""
        self._settings, self._period_s, self._clock_ns = settings, control_period_s, clock_ns
        self._acting = self._next = self._ready(policy, 0)
        self._guards = GuardChain(self.spec, self._acting.guards, clock_ns)
        self._before: OnnxPolicy | None = None
        self._blended_out = policy
        self._blend_steps_left = 0
        self._ramp_steps = self._ramp_steps_left = self._acting.guards.ramp_steps
        """Length of the present ramp, and the part of it that is left."""
        self._clears_stop = False
        """Whether `clear_stop` was called and the stepping thread has not cleared the stop yet."""
        self._is_halted = False
        self._last_step_ns: int | None = None
        """Time at which the last step of the episode began; None before the first."""

    @property
    def policy(self) -> OnnxPolicy:
        """The policy of the next step."""
        return self._next.policy

    @property
    def acting_policy(self) -> OnnxPolicy:
        """The policy of the last step; before the first step, the policy of that."""
        return self._acting.policy

    @property
    def stops(self) -> int:
        """Number of stops latched so far. A stop that stays latched counts once."""
        return self._guards.stops

    @property
    def is_stopped(self) -> bool:
        """Whether a stop is latched."""
        return self._guards.stop is not None and not self._clears_stop

    def begin_episode(self) -> None:
        """Forget the last action and stamps; the next observation must be inside the envelope.

        The policy takes over from the safe action in `ramp_steps`. The watchdog waits for the first step.
        """
        self.episode += 1
        self._last_step_ns = None
        self._ramp_steps = self._ramp_steps_left = self._next.guards.ramp_steps
        if self._clears_stop:
            self._guards.stop = None  # before the flag: `is_stopped` stays false
            self._clears_stop = False
        self._guards.begin_episode()

    def clear_stop(self) -> None:
        """Let the policy act again, from the next step on, which begins an episode. From any thread.

        `is_stopped` is false at once. The watchdog waits for that step.
        """
        self._clears_stop = True

    def swap(self, policy: OnnxPolicy, blend_steps: int | None = None) -> None:
        """Use another policy from the next step on; the one before stays loaded for `rollback`.

        Args:
            policy: A policy of the same task. No other object may run it.
            blend_steps: Number of steps over which it takes over; None for the contract's.

        Raises:
            BundleError: it was made for another task; the policy in service goes on.
        """
        policy.check_task(self.spec)
        ready = self._ready(policy, blend_steps)  # before any change: it may be refused
        self._before = self._next.policy
        self._next = ready
        self._is_halted = False  # after the policy; `_decide` reads the two in the other order

    def rollback(self, policy: OnnxPolicy | None = None) -> OnnxPolicy:
        """Use a policy from the next step on, without a blend, and return it.

        Args:
            policy: As for `swap`; None for the policy before the last swap.

        Raises:
            BundleError: there was no swap, or the policy was made for another task.
        """
        if (policy := policy or self._before) is None:
            raise BundleError("there is no policy to go back to: this is the first one.")
        self.swap(policy, 0)
        return policy

    def halt(self) -> None:
        """Let no policy act from the next step on: each step is a stop, until `swap` or `rollback`.

        The stop stays latched after that, until `clear_stop`.
        """
        self._is_halted = True

    def step(self, observation: GivenObservation, stamp_ns: Stamps) -> Decision:
        """Decide which action to execute.

        Args:
            observation: Raw; see `GivenObservation`. It is copied.
            stamp_ns: Time at which it was taken, by the runtime's clock; or the time of each term, by name.
        """
        try:
            decision = self._decide(observation, stamp_ns)
        except Exception as exc:  # noqa: BLE001 - a robot needs an action whatever failed; counted as a cause
            decision = self._recover(exc)
        for listener in self.listeners:
            try:
                listener(self._guards.facts.observation, stamp_ns, decision)
            except Exception as exc:  # noqa: BLE001 - a recorder or a shadow must not end the control loop
                self.last_error = exc
                self.listener_errors += 1
        return decision

    def check_watchdog(self, now_ns: int) -> Decision | None:
        """Return a stop where no step began for `watchdog_periods`; else, or without a watchdog, None.

        The robot's own thread calls this, so that it gets the safe action where the stepping thread is
        blocked. The stop stays latched until `clear_stop`.

        Args:
            now_ns: Time by the runtime's clock.
        """
        limit_ns, last_ns = self._acting.guards.watchdog_ns, self._last_step_ns
        if limit_ns is None or last_ns is None or now_ns - last_ns <= limit_ns or self._clears_stop:
            return None
        guards = self._guards
        if guards.stop is None:
            self.causes[WATCHDOG] += 1
        return self._without_observation(guards.latch_stop(WATCHDOG, self._acting.guards.safe_action))

    def _decide(self, observation: GivenObservation, stamps: Stamps) -> Decision:
        start_ns = self._clock_ns()
        is_halted = self._is_halted  # before the policy: the one that was halted takes no step more
        if self._clears_stop:
            self.begin_episode()
        if self._next is not self._acting:
            self._take_over()
        self._last_step_ns = start_ns
        guards = self._guards
        if is_halted and guards.stop is None:
            guards.latch_stop(NO_POLICY)
            self.causes[NO_POLICY] += 1
        policy_action: list[float] | None = None
        action: list[float] | None = None
        policy_ns, self.blended_with = 0, None
        cause = guards.check_observation(observation, stamps, start_ns)
        has_observation = cause not in guards.armed.discarding
        if cause is None and guards.stop is None:
            before_ns = self._clock_ns()
            policy_action = action = self._infer()
            policy_ns = self._clock_ns() - before_ns
            if self._ramp_steps_left and policy_action is not None:
                action = self._ramp(policy_action)
            cause = guards.check_action(action)
        executed, verdict, reasons = guards.decide(action, cause)
        age_ns, step_ns = start_ns - guards.facts.oldest_stamp_ns, self._clock_ns() - start_ns
        executed_action = np.array(executed, dtype=np.float32)
        if cause is not None:
            self.causes[cause] = self.causes.get(cause, 0) + 1
        self.verdicts[verdict] += 1
        return Decision(
            executed_action,
            verdict,
            reasons,
            Timings(age_ns, policy_ns, step_ns),
            executed_action if policy_action is executed else _as_array(policy_action),
            guards.armed.stop_category if verdict == "stopped" else None,
            has_observation,
        )

    def _recover(self, error: Exception) -> Decision:
        """Decide a step that failed: the fallback of `inference_failed`; a stop where that fails too."""
        self.last_error = error
        try:
            decision = self._without_observation(self._guards.decide(None, "inference_failed"))
        except Exception:  # noqa: BLE001 - the thresholds themselves may be what failed
            decision = self._without_observation(self._guards.latch_stop("inference_failed"))
        self.causes["inference_failed"] += 1
        self.verdicts[decision.verdict] += 1
        return decision

    def _without_observation(self, executed: Executed) -> Decision:
        """Return the decision of a step without an observation."""
        action, verdict, reasons = executed
        category = self._acting.guards.stop_category if verdict == "stopped" else None
        return Decision(
            np.array(action, dtype=np.float32), verdict, reasons, Timings(0, 0, 0), None, category, False
        )

    def warm_up(self) -> None:
        """Run the policy on the last observation and drop the result: the next step finds warm caches."""
        with contextlib.suppress(Exception):  # the next step reports the failure
            self._acting.policy.run(self._guards.facts.observation)

    def _ready(self, policy: OnnxPolicy, blend_steps: int | None) -> _ReadyPolicy:
        contract = policy.contract
        settings = self._settings or contract.runtime
        guards = ArmedGuards.of(settings, contract, self._period_s or contract.spec.control_period_s)
        return _ReadyPolicy(policy, guards, settings.blend_steps if blend_steps is None else blend_steps)

    def _take_over(self) -> None:
        """Change policies. Only the stepping thread calls this."""
        self._blended_out, self._acting = self._acting.policy, self._next
        self._blend_steps_left = self._acting.blend_steps
        self._guards.armed = self._acting.guards
        if self._last_step_ns is None:  # a ramp that runs keeps its length
            self._ramp_steps = self._ramp_steps_left = self._acting.guards.ramp_steps

    def _infer(self) -> list[float] | None:
        """Return the policy's action, during a blend the weighted mean of two; None where a policy failed."""
        observation = self._guards.facts.observation
        try:
            action: list[float] = self._acting.policy.run(observation).tolist()
            if not self._blend_steps_left:
                return action
            before: list[float] = self._blended_out.run(observation).tolist()
        except Exception:  # noqa: BLE001 - onnxruntime's errors have no class in common; counted as a cause
            return None
        share = self._blend_steps_left / (self._acting.blend_steps + 1)
        self._blend_steps_left -= 1
        self.blended_with = self._blended_out
        return _mean(action, before, share)

    def _ramp(self, action: list[float]) -> list[float]:
        """Return the weighted mean of the policy's and the safe action."""
        guards = self._acting.guards
        share = self._ramp_steps_left / (self._ramp_steps + 1)
        self._ramp_steps_left -= 1
        return _mean(action, guards.safe_action, share)


def _mean(action: list[float], before: list[float], share: float) -> list[float]:
    """Return the mean of two actions, the second one weighted with `share`."""
    return [new + share * (old - new) for new, old in zip(action, before, strict=True)]


def _as_array(action: list[float] | None) -> FloatArray | None:
    return None if action is None else np.array(action, dtype=np.float32)
