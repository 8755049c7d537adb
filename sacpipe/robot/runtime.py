"""The runtime of a robot: an observation and its stamp in, a decision out. Never an exception, never a clamp.

An unforeseen exception becomes the cause `inference_failed`, so that it is counted, recorded and a
reason for a rollback like an error of onnxruntime; `Runtime.last_error` keeps it.

Each step checks the observation, runs the policy, checks the action, and then checks that the step met its
deadline. The first refusal is the cause of a fallback (sacpipe/robot/guards.py).

A step allocates next to nothing, takes no lock, logs nothing and touches no file. One thread alone calls
`step` and `begin_episode`; any thread may call `swap`, `rollback` and `clear_stop`.
"""

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sacpipe.bundle.guard_settings import CAUSES, VERDICTS, Cause, GuardSettings, Verdict
from sacpipe.core.errors import BundleError
from sacpipe.robot.decision import Decision, Observation, Timings
from sacpipe.robot.guards import Guards, Thresholds
from sacpipe.robot.listeners import Listeners
from sacpipe.robot.policy import OnnxPolicy


@dataclass(frozen=True, eq=False, slots=True)
class _ReadyPolicy:
    """A policy with its thresholds: one object, so that a swap from another thread replaces both at once."""

    policy: OnnxPolicy
    thresholds: Thresholds
    blend_steps: int
    """Number of steps over which the policy takes over from the one before."""


class Runtime:
    """A policy behind its contract's guards.

    Args:
        policy: A verified bundle, ready to act. No other object may run it.
        guards: Settings that replace the contract's, for example of a slower robot. They stay when policies
            change.
        control_period_s: Time between two steps where it is not the contract's, in seconds.
        clock_ns: Clock of the observations' stamps, in nanoseconds.

    Raises:
        BundleError: the safe action has another size than the task's actions, or is out of bounds.
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
        """Number of refusals by each guard."""
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
        self._settings, self._period_s, self._clock_ns = guards, control_period_s, clock_ns
        self._acting = self._next = self._ready(policy, 0)
        self._guards = Guards(self.spec, self._acting.thresholds)
        self._before: OnnxPolicy | None = None
        self._blended_out = policy
        self._blend_steps_left = 0

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
        return self._guards.stop is not None

    def begin_episode(self) -> None:
        """Forget the last action and stamp; the next observation must be inside the envelope."""
        self.episode += 1
        self._guards.begin_episode()

    def clear_stop(self) -> None:
        """Let the policy act again, from the next step on, as at the start of an episode."""
        self.begin_episode()
        self._guards.stop = None

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

    def rollback(self) -> OnnxPolicy:
        """Use the policy before the last swap from the next step on, without a blend, and return it.

        Raises:
            BundleError: there was no swap.
        """
        if self._before is None:
            raise BundleError("there is no policy to go back to: this is the first one.")
        self.swap(self._before, 0)
        return self._next.policy

    def step(self, observation: Observation, stamp_ns: int) -> Decision:
        """Decide which action to execute.

        Args:
            observation: Raw; see `Observation`. It is copied.
            stamp_ns: Time at which it was taken, by the runtime's clock.
        """
        try:
            decision = self._decide(observation, stamp_ns)
        except Exception as exc:  # noqa: BLE001 - a robot needs an action whatever failed; counted as a cause
            decision = self._recover(exc)
        for listener in self.listeners:
            try:
                listener(self._guards.observation, stamp_ns, decision)
            except Exception as exc:  # noqa: BLE001 - a recorder or a shadow must not end the control loop
                self.last_error = exc
                self.listener_errors += 1
        return decision

    def _decide(self, observation: Observation, stamp_ns: int) -> Decision:
        start_ns = self._clock_ns()
        if self._next is not self._acting:
            self._take_over()
        guards = self._guards
        action: list[float] | None = None
        policy_ns, self.blended_with = 0, None
        cause = guards.check_observation(observation, stamp_ns, start_ns)
        if cause is None and guards.stop is None:
            before_ns = self._clock_ns()
            action = self._infer()
            policy_ns = self._clock_ns() - before_ns
            cause = guards.check_action(action)
            if cause is None and self._clock_ns() - start_ns > guards.thresholds.deadline_ns:
                cause = "deadline_missed"
        executed, verdict, reasons = guards.decide(action, cause)
        age_ns, step_ns = start_ns - stamp_ns, self._clock_ns() - start_ns
        timings = Timings(age_ns, policy_ns, step_ns)
        executed_action = np.array(executed, dtype=np.float32)
        policy_action = (
            executed_action if verdict == "ok" or action is None else np.array(action, dtype=np.float32)
        )
        if cause is not None:
            self.causes[cause] += 1
        self.verdicts[verdict] += 1
        return Decision(executed_action, verdict, reasons, timings, None if action is None else policy_action)

    def _recover(self, error: Exception) -> Decision:
        """Decide a step that failed: the fallback of `inference_failed`; a stop where that fails too."""
        self.last_error = error
        try:
            executed, verdict, reasons = self._guards.decide(None, "inference_failed")
            action = np.array(executed, dtype=np.float32)
        except Exception:  # noqa: BLE001 - the thresholds themselves may be what failed
            executed, verdict, reasons = self._guards.latch_stop("inference_failed")
            action = np.array(executed, dtype=np.float32)
        self.causes["inference_failed"] += 1
        self.verdicts[verdict] += 1
        return Decision(action, verdict, reasons, Timings(0, 0, 0), None)

    def warm_up(self) -> None:
        """Run the policy on the last observation and drop the result: the next step finds warm caches."""
        with contextlib.suppress(Exception):  # the next step reports the failure
            self._acting.policy.run(self._guards.observation)

    def _ready(self, policy: OnnxPolicy, blend_steps: int | None) -> _ReadyPolicy:
        contract = policy.contract
        settings = self._settings or contract.guards
        thresholds = Thresholds.of(settings, contract, self._period_s or contract.spec.control_period_s)
        return _ReadyPolicy(policy, thresholds, settings.blend_steps if blend_steps is None else blend_steps)

    def _take_over(self) -> None:
        """Change policies. Only the stepping thread calls this."""
        self._blended_out, self._acting = self._acting.policy, self._next
        self._blend_steps_left = self._acting.blend_steps
        self._guards.thresholds = self._acting.thresholds

    def _infer(self) -> list[float] | None:
        """Return the policy's action, during a blend the weighted mean of two; None where a policy failed."""
        try:
            action: list[float] = self._acting.policy.run(self._guards.observation).tolist()
            if not self._blend_steps_left:
                return action
            before: list[float] = self._blended_out.run(self._guards.observation).tolist()
        except Exception:  # noqa: BLE001 - onnxruntime's errors have no class in common; counted as a cause
            return None
        share = self._blend_steps_left / (self._acting.blend_steps + 1)
        self._blend_steps_left -= 1
        self.blended_with = self._blended_out
        return [new + share * (old - new) for new, old in zip(action, before, strict=True)]
