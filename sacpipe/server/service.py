"""The active policy behind the protocol: bytes in, bytes out, and statistics of every request.

One thread answers the requests, one after the other; any other thread may swap the policy. A request reads
the active policy once, so every answer comes from one policy and names it.
"""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections import deque
from collections.abc import Awaitable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
from msgspec import Struct

from sacpipe.core.errors import BundleError, ConfigError
from sacpipe.robot.armed_guards import guards_in_service
from sacpipe.robot.decision import Stamps
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import Listeners
from sacpipe.server.active_model import ActiveModel
from sacpipe.server.batch import act
from sacpipe.server.http_errors import FaultError, RefusalError, UnavailableError
from sacpipe.server.metrics import Metrics
from sacpipe.server.protocol import (
    AnswerParameters,
    InferAnswer,
    InferRequest,
    Rendered,
    Sequence,
    parse_infer,
    render_infer,
)
from sacpipe.server.result import Result, stamps_of
from sacpipe.server.sequences import Sequences, SequenceStep
from sacpipe.server.statistics import Times
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation

MAX_SEQUENCES = 64
SLICE_ROWS = 32
"""Observations of a batch computed at once: under 1 ms, in which no other request is answered."""

_MAX_EVENTS = 50
_LOGGER = logging.getLogger(__name__)


class Call(NamedTuple):
    """An inference request, before it is parsed."""

    body: bytes
    header_length: bytes | None
    """Value of `Inference-Header-Content-Length`; None where it was not sent."""
    version: str | None
    """Version in the path; None where the path has none."""
    arrived_ns: int
    """Time of its first byte, in nanoseconds of the monotonic clock."""


class RequestEvent(Struct):
    """One request as the page shows it."""

    unix_s: float
    sequence: str | None
    verdict: str
    """Verdict of the runtime, or `refused`."""
    reasons: str
    action: list[float] | None
    """Action of the first observation of the batch, in task units."""
    version: str
    total_us: float


class _Parsed(NamedTuple):
    request: InferRequest
    read_ns: int
    parsed_ns: int


class Service:
    """Answers inference requests with the active policy.

    Args:
        policy: A verified bundle, ready to act. No other object may run it.
        name: Name of the model in paths: 1 to 64 letters, digits, `_`, `.` or `-`.
        max_sequences: Maximum number of open sequences.

    Raises:
        ConfigError: the name has other characters or another length.
    """

    def __init__(self, policy: OnnxPolicy, name: str = "policy", max_sequences: int = MAX_SEQUENCES) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", name) or name == "stats":
            raise ConfigError(
                f"--name: expected 1 to 64 letters, digits, '_', '.' or '-', and not 'stats', found '{name}'."
            )
        self.name = name
        self.metrics = Metrics()
        self.causes: Mapping[str, int] = self.metrics.causes
        """Number of refusals by each guard, in requests with and without a sequence."""
        self.events: deque[RequestEvent] = deque(maxlen=_MAX_EVENTS)
        """The last requests, oldest first."""
        self.is_draining = False
        """Whether the server is shutting down."""
        self.listeners = Listeners()
        """Called for every answered observation, for each row of a batch."""
        self.sequences = Sequences(max_sequences, self.metrics.causes)
        self.active = ActiveModel(name, policy)
        """The policy of the next request."""
        self._lock = threading.Lock()
        self._name_guards(policy)

    @property
    def spec(self) -> EnvSpec:
        """Observation and action terms of the task."""
        return self.active.policy.contract.spec

    @property
    def policy(self) -> OnnxPolicy:
        """The policy of the next request."""
        return self.active.policy

    @property
    def unexpected_errors(self) -> int:
        """Number of unexpected errors since the start; a rollout takes a new one for a failure."""
        return self.metrics.unexpected_errors

    @property
    def stops(self) -> int:
        """Number of stops latched, over all sequences."""
        return self.sequences.stops

    def swap(self, policy: OnnxPolicy) -> None:
        """Make another policy active from the next request on. From any thread.

        Args:
            policy: A policy of the same task. No other object may run it. Sequences blend into it over the
                `blend_steps` of its contract.

        Raises:
            BundleError: it was made for another task; the policy in service goes on.
        """
        with self._lock:
            self._activate(policy, None)

    def rollback(self, policy: OnnxPolicy | None = None) -> OnnxPolicy:
        """Make a policy active, and return it. From any thread.

        Sequences do not blend: a policy that failed must not run again.

        Args:
            policy: As for `swap`; None for the policy before the last swap.

        Raises:
            BundleError: there was no swap, or the policy was made for another task.
        """
        with self._lock:
            if (policy := policy or self.active.previous) is None:
                raise BundleError("there is no policy to go back to: this is the first one.")
            self._activate(policy, 0)
            return policy

    def halt(self) -> None:
        """Let no policy act from the next request on, until `swap` or `rollback`. From any thread.

        Steps of sequences are stops; other requests are refused.
        """
        with self._lock:
            self.active.is_halted = True

    def _activate(self, policy: OnnxPolicy, blend_steps: int | None) -> None:
        policy.check_task(self.spec)
        self._name_guards(policy)
        self.active = ActiveModel(self.name, policy, blend_steps, self.active.policy)
        self.metrics.swaps += 1

    def _name_guards(self, policy: OnnxPolicy) -> None:
        """Count from zero for each guard of the policy: a counter that appears late shows no increase."""
        for guard in guards_in_service(policy.contract.runtime):
            self.metrics.causes.setdefault(guard.name, 0)

    def answer(self, call: Call) -> Rendered | Awaitable[Rendered]:
        """Answer an inference request; a large batch in slices, between which other requests are answered.

        Raises:
            RefusalError: the request gets no action; the refusal was counted.
            Exception: an unforeseen error; it was counted, too.
        """
        active = self.active
        with self._counting(active, call):
            active.check_version(call.version)
            parsed = self._parse(active, call)
            if active.is_halted and parsed.request.sequence is None:
                raise UnavailableError("no policy may act here now. The page / says why; use another server")
            if parsed.request.sequence is None and len(parsed.request.observations.vector) > SLICE_ROWS:
                return self._answer_in_slices(active, call, parsed)
            return self._render(active, call, parsed, self._decide(active, call, parsed.request))

    async def _answer_in_slices(self, active: ActiveModel, call: Call, parsed: "_Parsed") -> Rendered:
        with self._counting(active, call):
            request, parts = parsed.request, []
            for first in range(0, len(request.observations.vector), SLICE_ROWS):
                await asyncio.sleep(0)
                rows = request.observations.rows(slice(first, first + SLICE_ROWS))
                parts.append(act(active.policy, rows, first))
            result = Result(np.concatenate(parts), stamps_of(request, call.arrived_ns))
            return self._render(active, call, parsed, result)

    @contextlib.contextmanager
    def _counting(self, active: ActiveModel, call: Call) -> Iterator[None]:
        try:
            yield
        except RefusalError as exc:
            self._count_refusal(active, exc, time.monotonic_ns() - call.arrived_ns)
            raise
        except Exception as exc:
            self.metrics.unexpected_errors += 1
            refusal = FaultError(f"internal error: {type(exc).__name__}")
            self._count_refusal(active, refusal, time.monotonic_ns() - call.arrived_ns)
            raise

    def _parse(self, active: ActiveModel, call: Call) -> "_Parsed":
        """Parse a request; refuse it if its time is over."""
        read_ns = time.monotonic_ns()
        request = parse_infer(call.body, call.header_length, active.inputs)
        parsed_ns = time.monotonic_ns()
        if request.timeout_us is not None and parsed_ns - call.arrived_ns > request.timeout_us * 1000:
            raise UnavailableError(
                f"parameters.timeout: expected to start within {request.timeout_us} us, found "
                f"{(parsed_ns - call.arrived_ns) // 1000} us passed. No action was computed"
            )
        return _Parsed(request, read_ns, parsed_ns)

    def _render(self, active: ActiveModel, call: Call, parsed: "_Parsed", result: Result) -> Rendered:
        request, read_ns, parsed_ns = parsed
        inferred_ns = time.monotonic_ns()
        parameters = AnswerParameters(
            verdict=result.verdict,
            reasons=result.reasons,
            bundle_sha256=active.policy.digest,
            contract_sha256=active.contract_sha256,
            queue_ns=parsed_ns - call.arrived_ns,
            policy_ns=inferred_ns - parsed_ns,
            **result.parameters,
        )
        answer = InferAnswer(
            model_name=self.name,
            model_version=active.version,
            id=request.id,
            parameters=parameters,
            outputs=[],
        )
        rendered = render_infer(answer, result.actions, is_binary=request.is_binary)
        done_ns = time.monotonic_ns()
        times = Times(
            read_ns - call.arrived_ns, parsed_ns - read_ns, inferred_ns - parsed_ns, done_ns - inferred_ns
        )
        self._count(active, request.sequence, result, times)
        if self.listeners:
            self._notify(request.observations, result)
        return rendered

    def _notify(self, observations: Observation, result: Result) -> None:
        for row, action in enumerate(result.actions):
            decision = result.decision(action)
            for listener in self.listeners:
                try:
                    listener(observations.rows(row), result.stamp_ns, decision)
                except Exception:  # the action is computed: a recorder or a shadow must not withhold it
                    self.metrics.unexpected_errors += 1
                    _LOGGER.exception("sacpipe: a listener failed")

    def _decide(self, active: ActiveModel, call: Call, request: InferRequest) -> Result:
        stamp_ns = stamps_of(request, call.arrived_ns)
        if request.sequence is None:
            return Result(act(active.policy, request.observations), stamp_ns)
        step = self._step(active, request.sequence, request.observations.rows(0), stamp_ns)
        return Result(step.decision.action[np.newaxis], stamp_ns, step)

    def _step(
        self, active: ActiveModel, sequence: Sequence, observation: Observation, stamp_ns: Stamps
    ) -> SequenceStep:
        sequences = self.sequences
        sequences.is_halted = active.is_halted
        try:
            stepped = sequences.step(
                sequence, active.policy, active.blend_steps, active.previous, observation, stamp_ns
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

    def _count(self, active: ActiveModel, sequence: Sequence | None, result: Result, times: Times) -> None:
        metrics, unix_s, total_ns = self.metrics, time.time(), sum(times)
        metrics.infer.add(total_ns)
        metrics.policy.add(times.compute_infer)
        metrics.verdicts[result.verdict] += 1
        metrics.dropped_sequences = self.sequences.dropped
        active.statistics.add_success(times, len(result.actions), int(unix_s * 1000))
        self.events.append(
            RequestEvent(
                unix_s=unix_s,
                sequence=None if sequence is None else str(sequence.key),
                verdict=result.verdict,
                reasons=result.reasons,
                action=result.actions[0].tolist(),
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
            RequestEvent(
                time.time(), None, "refused", str(refusal)[:160], None, active.version, total_ns / 1e3
            )
        )
