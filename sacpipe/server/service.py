"""The policy in service: bytes in, bytes out, and what became of every request.

Requests are answered by one thread, one after the other; a policy may be put into service by any
other. A request reads once which policy that is, so that every answer belongs to one whole policy
and names it.
"""

import logging
import re
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sacpipe.bundle.contract import contract_sha256
from sacpipe.bundle.guard_settings import Cause, Verdict
from sacpipe.core.errors import BundleError, ConfigError, ObservationError
from sacpipe.robot.decision import Decision, Timings
from sacpipe.robot.listeners import Listeners
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server.http_errors import FaultError, NotFoundError, RefusalError, UnavailableError
from sacpipe.server.metrics import Metrics
from sacpipe.server.protocol import (
    InferAnswer,
    InferRequest,
    Limits,
    Rendered,
    Sequence,
    parse_infer,
    render_infer,
)
from sacpipe.server.sequences import Sequences, Stepped
from sacpipe.server.statistics import Statistics, Times
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.records import FloatArray

MAX_BATCH = 256
"""Observations in one request: some 5 ms during which nobody else is answered."""
MAX_SEQUENCES = 64

_REMEMBERED = 50
_NO_TIMINGS = Timings(0, 0, 0)
"""A request without a sequence has no clock of a robot's."""
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, slots=True)
class ActiveModel:
    """A policy in service."""

    policy: OnnxPolicy
    blend_steps: int | None
    """Over which open sequences go over to it; None where its contract says."""
    before: OnnxPolicy | None
    """In service before it."""
    version: str
    """The first 12 digits of the bundle's digest."""
    contract_sha256: str
    limits: Limits
    since_s: float
    """Unix time."""
    statistics: Statistics

    @classmethod
    def of(
        cls, policy: OnnxPolicy, blend_steps: int | None = None, before: OnnxPolicy | None = None
    ) -> "ActiveModel":
        """Put a policy into service now."""
        return cls(
            policy=policy,
            blend_steps=blend_steps,
            before=before,
            version=policy.digest[:12],
            contract_sha256=contract_sha256(policy.contract),
            limits=Limits(policy.contract.spec.observation_dim, MAX_BATCH),
            since_s=time.time(),
            statistics=Statistics(),
        )

    def check_version(self, version: str | None) -> None:
        """Check that a path's version is this one; None means any.

        Raises:
            NotFoundError: it is another.
        """
        if version not in (None, self.version, self.policy.digest):
            raise NotFoundError(f"version: expected {self.version}, the one in service, found '{version}'")


class Call(NamedTuple):
    """An inference request as it came."""

    body: bytes
    header_length: bytes | None
    """Of `Inference-Header-Content-Length`."""
    version: str | None
    """Of the path."""
    arrived_ns: int
    """Its first byte, by the monotonic clock."""


class Event(NamedTuple):
    """One request as the page shows it."""

    unix_s: float
    sequence: str | None
    verdict: str
    """Or `refused`."""
    reasons: str
    action: list[float] | None
    """Of the batch's first observation."""
    version: str
    total_us: float


class _Outcome(NamedTuple):
    actions: FloatArray
    verdict: Verdict
    reasons: tuple[Cause, ...]
    parameters: dict[str, str | int | bool]
    """What only this kind of request has."""
    stamp_ns: int
    """Of the observation."""
    timings: Timings
    policy_action: FloatArray | None
    """The policy's action where it is not the one given; None where there is none."""


class Service:
    """A policy under a name of the protocol.

    Args:
        policy: A verified bundle, ready to act, and run by nobody else.
        name: The model's name: 1 to 64 letters, digits, `_`, `.` or `-`.

    Raises:
        ConfigError: the name is none.
    """

    def __init__(self, policy: OnnxPolicy, name: str = "policy") -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or name == "stats":
            raise ConfigError(
                f"--name: expected 1 to 64 letters, digits, '_', '.' or '-', and not 'stats', found '{name}'."
            )
        self.name = name
        self.metrics = Metrics()
        self.events: deque[Event] = deque(maxlen=_REMEMBERED)
        """The last requests, oldest first."""
        self.is_draining = False
        """Whether the process is about to end."""
        self.listeners = Listeners()
        """Told of every answered observation, a batch row by row."""
        self._sequences = Sequences(MAX_SEQUENCES, self.metrics.causes)
        self._lock = threading.Lock()
        self._served = ActiveModel.of(policy)

    @property
    def active(self) -> ActiveModel:
        """The policy of the next request."""
        return self._served

    @property
    def spec(self) -> EnvSpec:
        """The task's."""
        return self._served.policy.contract.spec

    @property
    def policy(self) -> OnnxPolicy:
        """The policy of the next request."""
        return self._served.policy

    @property
    def causes(self) -> Mapping[Cause, int]:
        """How often each guard said no, in requests of either kind."""
        return self.metrics.causes

    @property
    def stops(self) -> int:
        """How often a sequence latched a stop."""
        return self._sequences.stops

    @property
    def open_sequences(self) -> int:
        """How many sequences are open."""
        return len(self._sequences)

    def swap(self, policy: OnnxPolicy) -> None:
        """Put another policy into service, from the next request on. From any thread.

        Args:
            policy: Of the same task; run by nobody else. Sequences blend into it as its contract says.

        Raises:
            BundleError: it was made for another task; the policy in service goes on.
        """
        with self._lock:
            self._put(policy, None)

    def rollback(self) -> OnnxPolicy:
        """Put the policy before the last swap into service again, and return it. From any thread.

        Sequences do not blend: what failed is not run again.

        Raises:
            BundleError: there was no swap.
        """
        with self._lock:
            if (before := self._served.before) is None:
                raise BundleError("there is no policy to go back to: this is the first one.")
            self._put(before, 0)
            return before

    def _put(self, policy: OnnxPolicy, blend_steps: int | None) -> None:
        policy.check_task(self.spec)
        self._served = ActiveModel.of(policy, blend_steps, self._served.policy)
        self.metrics.swaps += 1

    def answer(self, call: Call) -> Rendered:
        """Answer an inference request.

        Raises:
            RefusalError: instead of an action; it was counted.
            Exception: an error that nobody foresaw; it was counted too.
        """
        active = self._served
        try:
            active.check_version(call.version)
            return self._answer(active, call)
        except RefusalError as exc:
            self._count_refusal(active, exc, time.monotonic_ns() - call.arrived_ns)
            raise
        except Exception as exc:
            self.metrics.unexpected_errors += 1
            refusal = FaultError(f"the server made a mistake: {type(exc).__name__}")
            self._count_refusal(active, refusal, time.monotonic_ns() - call.arrived_ns)
            raise

    def _answer(self, active: ActiveModel, call: Call) -> Rendered:
        read_ns = time.monotonic_ns()
        request = parse_infer(call.body, call.header_length, active.limits)
        parsed_ns = time.monotonic_ns()
        if request.timeout_us is not None and parsed_ns - call.arrived_ns > request.timeout_us * 1000:
            raise UnavailableError(
                f"parameters.timeout: expected to start within {request.timeout_us} us, found "
                f"{(parsed_ns - call.arrived_ns) // 1000} us gone. No action was computed"
            )
        outcome = self._decide(active, request)
        acted_ns = time.monotonic_ns()
        parameters: dict[str, str | int | bool] = {
            "verdict": outcome.verdict,
            "reasons": ",".join(outcome.reasons),
            "bundle_sha256": active.policy.digest,
            "contract_sha256": active.contract_sha256,
            "queue_ns": parsed_ns - call.arrived_ns,
            "policy_ns": acted_ns - parsed_ns,
            **outcome.parameters,
        }
        answer = InferAnswer(self.name, active.version, request.id, parameters, outcome.actions)
        rendered = render_infer(answer, is_binary=request.is_binary)
        done_ns = time.monotonic_ns()
        times = Times(
            read_ns - call.arrived_ns, parsed_ns - read_ns, acted_ns - parsed_ns, done_ns - acted_ns
        )
        self._count(active, request.sequence, outcome, times)
        if self.listeners:
            self._tell(request.observations, outcome)
        return rendered

    def _tell(self, observations: FloatArray, outcome: _Outcome) -> None:
        for observation, action in zip(observations, outcome.actions, strict=True):
            policy_action = action if outcome.verdict == "ok" else outcome.policy_action
            decision = Decision(action, outcome.verdict, outcome.reasons, outcome.timings, policy_action)
            for listener in self.listeners:
                try:
                    listener(observation, outcome.stamp_ns, decision)
                except Exception:  # the action is computed: a recorder or a shadow must not withhold it
                    self.metrics.unexpected_errors += 1
                    _LOGGER.exception("sacpipe: a listener failed")

    def _decide(self, active: ActiveModel, request: InferRequest) -> _Outcome:
        stamp_ns = time.monotonic_ns() if request.stamp_ns is None else request.stamp_ns
        if request.sequence is None:
            actions = _act(active.policy, request.observations)
            return _Outcome(actions, "ok", (), {}, stamp_ns, _NO_TIMINGS, None)
        decision, blended_with = self._step(active, request.sequence, request.observations[0], stamp_ns)
        parameters: dict[str, str | int | bool] = {"observation_age_ns": decision.timings.age_ns}
        if blended_with is not None:
            parameters["blended_with_sha256"] = blended_with.digest
        return _Outcome(
            decision.action[np.newaxis],
            decision.verdict,
            decision.reasons,
            parameters,
            stamp_ns,
            decision.timings,
            decision.policy_action,
        )

    def _step(
        self, active: ActiveModel, sequence: Sequence, observation: FloatArray, stamp_ns: int
    ) -> Stepped:
        sequences = self._sequences
        try:
            stepped = sequences.step(
                sequence, active.policy, active.blend_steps, active.before, observation, stamp_ns
            )
        except RefusalError:
            raise
        except Exception as exc:  # counted as a cause, so that a rollout takes it for a failure
            self.metrics.unexpected_errors += 1
            _LOGGER.exception("sacpipe: a step failed")
            raise FaultError("the step failed and gave no action", "inference_failed") from exc
        if sequences.last_error is not None:
            self.metrics.unexpected_errors += 1
            _LOGGER.error("sacpipe: a step failed; its fallback was given", exc_info=sequences.last_error)
            sequences.last_error = None
        return stepped

    def _count(self, active: ActiveModel, sequence: Sequence | None, outcome: _Outcome, times: Times) -> None:
        metrics, unix_s, total_ns = self.metrics, time.time(), sum(times)
        metrics.infer.add(total_ns)
        metrics.policy.add(times.compute_infer)
        metrics.verdicts[outcome.verdict] += 1
        metrics.dropped_sequences = self._sequences.dropped
        active.statistics.add_success(times, len(outcome.actions), int(unix_s * 1000))
        self.events.append(
            Event(
                unix_s=unix_s,
                sequence=None if sequence is None else str(sequence.key),
                verdict=outcome.verdict,
                reasons=",".join(outcome.reasons),
                action=outcome.actions[0].tolist(),
                version=active.version,
                total_us=total_ns / 1e3,
            )
        )

    def _count_refusal(self, active: ActiveModel, refusal: RefusalError, total_ns: int) -> None:
        refusals = self.metrics.refusals
        refusals[refusal.status] = refusals.get(refusal.status, 0) + 1
        if refusal.cause is not None:
            self.metrics.causes[refusal.cause] += 1
        active.statistics.add_fail(total_ns)
        self.events.append(
            Event(time.time(), None, "refused", str(refusal)[:160], None, active.version, total_ns / 1e3)
        )


def _act(policy: OnnxPolicy, observations: FloatArray) -> FloatArray:
    """Return the actions of a batch, or none at all. Shape (batch, action_dim)."""
    actions: FloatArray = np.empty((len(observations), policy.contract.spec.action_dim), dtype=np.float32)
    for row, observation in enumerate(observations):
        try:
            actions[row] = policy.act(observation)
        except ObservationError as exc:
            raise RefusalError(f"row {row}: {exc}", "observation_not_finite") from None
        except BundleError as exc:
            raise FaultError(f"row {row}: {exc}", "action_outside_bounds") from None
        except Exception as exc:  # onnxruntime's errors have no class in common
            _LOGGER.exception("sacpipe: the policy failed")
            raise FaultError(
                f"row {row}: the ONNX runtime gave an error, no action", "inference_failed"
            ) from exc
    return actions
