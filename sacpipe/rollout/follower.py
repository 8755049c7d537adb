"""Follows a source: a bundle that it names becomes active, or is rolled back, without an operator.

    resolve ──> pull ──> load gate, in a child ──> store ──> shadow ──> watch ──> current
      every poll_s       sacpipe/rollout/load_gate_process.py   sacpipe/rollout/phases.py

Two threads: one polls the source and may wait for a network or for the load gate; the other advances the
rollout several times a second, so that a rollback never waits. The policy in service goes on whatever fails
here. docs/serving.md has the diagram.
"""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Self

from sacpipe.core.errors import BundleError, GateError, SacpipeError, StoreUnavailableError
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_events import EventKind, EventLog, FollowEvent
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.phases import PhaseName, RolloutEvent
from sacpipe.rollout.rollout import Rollout
from sacpipe.rollout.sources import ResolvedBundle, Source

_ADVANCE_S = 0.2
"""Time between two ticks of the rollout, in seconds."""
_LOGGER = logging.getLogger(__name__)


class FollowerStatus(NamedTuple):
    """Status of a follower, for operators and monitoring. The fields are JSON keys of `/status.json`."""

    phase: PhaseName
    source: str
    """Path, or alias with version, from which the bundle in service was resolved."""
    candidate: str
    """Digest of the bundle in the shadow phase or the watch phase; empty while idle."""
    divergence: Divergence | None
    """Comparison of the current phase; None while idle."""
    is_reachable: bool
    """Whether the source answered the last poll."""
    bad: int
    """Number of bundles marked bad."""
    events: tuple[FollowEvent, ...]
    """The last events, newest first."""
    counts: dict[EventKind, int]
    """Number of events since the start, by kind."""


class Follower:
    """Follows a source inside a `with` block.

    Args:
        source: Resolves to one bundle after the other.
        host: Runs the policy in service; at first the policy of `load_starting_policy`.
        store: Keeps the bundles.
        settings: Acceptance settings of the operator.
    """

    def __init__(
        self, source: Source, host: PolicyHost, store: BundleStore, settings: FollowSettings
    ) -> None:
        self._source, self._host, self._store, self._settings = source, host, store, settings
        self._rollout = Rollout(host, store, settings.rollout)
        self._lock = threading.Lock()
        """Held by the thread that works with the rollout."""
        self._is_ending = threading.Event()
        self._log = EventLog()
        self._is_reachable = True
        self._noticed_digest = ""
        """Digest of the last bundle that was reported as noticed."""
        self._reported_failure = ""
        """Key of the last failure that was reported; the same failure is not reported twice in a row."""
        self._refused_digest, self._retry_at_s = "", 0.0
        """Digest of the last bundle that was refused or failed, and when to try it again."""
        self._threads = [
            threading.Thread(target=self._run_every, args=(period_s, work), name=name, daemon=True)
            for name, period_s, work in (
                ("follow", settings.poll_s, self._poll),
                ("rollout", _ADVANCE_S, self._advance),
            )
        ]

    def __enter__(self) -> Self:
        """Start to poll."""
        self._log.add(
            "started", self._host.policy.digest, self._source_in_service(), "in service since the start"
        )
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop polling; the policy in service stays. The result of a poll that still waits is dropped."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join(timeout=1.0)
        with self._lock:
            self._rollout.close()

    def status(self) -> FollowerStatus:
        """Return the status. From any thread; waits for nothing."""
        candidate = self._rollout.candidate
        return FollowerStatus(
            phase=self._rollout.phase,
            source=self._source_in_service(),
            candidate="" if candidate is None else candidate.digest,
            divergence=self._rollout.divergence(),
            is_reachable=self._is_reachable,
            bad=len(self._store.bad),
            events=self._log.events,
            counts=self._log.counts,
        )

    def _run_every(self, period_s: float, work: Callable[[], None]) -> None:
        while not self._is_ending.is_set():
            try:
                work()
            except Exception:
                _LOGGER.exception("sacpipe: the follower failed; the policy in service goes on")
            self._is_ending.wait(period_s)

    def _poll(self) -> None:
        """Resolve the source, and begin the rollout of its bundle where it is new."""
        resolved: ResolvedBundle | None = None
        failure: SacpipeError | None = None
        try:
            resolved = self._source.resolve()
            if self._is_wanted(resolved):
                self._begin_rollout(resolved)
        except SacpipeError as exc:
            failure = exc
        if isinstance(failure, StoreUnavailableError):
            self._is_reachable = False
            self._report_failure(None, failure)
            return
        if not self._is_reachable:
            self._is_reachable, self._reported_failure = True, ""
            self._log.add("reachable", "", "", "the source answers again")
        self._report_failure(resolved, failure)

    def _is_wanted(self, resolved: ResolvedBundle) -> bool:
        """Return whether to pull a bundle; withdraw the candidate where the source names another one now."""
        with self._lock:
            candidate = self._rollout.candidate
            if candidate is not None and resolved.digest != candidate.digest:
                reason = f"the source names bundle {resolved.digest[:12]} now, {resolved.source}"
                self._report_end(self._rollout.withdraw(reason))
            elif candidate is not None:
                return False
            if resolved.digest == self._host.policy.digest:
                return False
            return resolved.digest != self._refused_digest or time.monotonic() >= self._retry_at_s

    def _begin_rollout(self, resolved: ResolvedBundle) -> None:
        """Pull a bundle, pass it through the load gate, and begin its shadow phase.

        Raises:
            SacpipeError: the bundle is refused, or the source or the store failed.
        """
        digest, source = resolved.digest, resolved.source
        if digest != self._noticed_digest:
            self._noticed_digest = digest
            self._log.add("noticed", digest, source, "differs from the bundle in service")
        if (reason := self._store.bad.get(digest)) is not None:
            raise BundleError(f"it is marked bad: {reason}", "store")
        admitted = run_load_gate_in_child(resolved.pull(), self._settings.gate)
        with self._lock:
            if (
                self._is_ending.is_set()
            ):  # the load gate may take a minute, and `__exit__` does not wait for it
                return
            self._report_end(self._rollout.offer(admitted, source))
            self._log.add("shadow", digest, source, "compared, not executed")
        self._reported_failure = ""

    def _advance(self) -> None:
        """Let the rollout check its candidate, and report what happened."""
        with self._lock:
            phase_before = self._rollout.phase
            try:
                event = self._rollout.tick()
            except SacpipeError as exc:
                self._report_failure(None, exc)
                return
            candidate = self._rollout.candidate
            if candidate is not None and self._rollout.phase != phase_before:
                self._log.add("watch", candidate.digest, candidate.source, "in service, and watched")
            self._report_end(event)

    def _report_end(self, event: RolloutEvent | None) -> None:
        """Report the end of a rollout, if one ended, and remove old bundles from the store."""
        if event is None:
            return
        self._log.add(event.outcome, event.bundle_digest, event.source, event.reason)
        if self._rollout.phase == "idle":
            try:
                self._store.prune(self._settings.keep)
            except SacpipeError as exc:
                self._report_failure(None, exc)

    def _report_failure(self, resolved: ResolvedBundle | None, failure: SacpipeError | None) -> None:
        """Report a failure, if there is one, unless it is the one that was reported last."""
        if failure is None:
            return
        digest, source = ("", "") if resolved is None else (resolved.digest, resolved.source)
        if resolved is not None:
            self._refused_digest, self._retry_at_s = digest, time.monotonic() + self._settings.retry_s
        kind: EventKind = "unreachable" if isinstance(failure, StoreUnavailableError) else "failed"
        rule, text = "", str(failure)
        if isinstance(failure, BundleError):
            kind, rule = "refused", failure.rule or "contract"
            text = text if isinstance(failure, GateError) else f"refused by the rule '{rule}': {text}"
        key = f"{type(failure).__name__} {rule} {digest}"
        if key != self._reported_failure:
            self._reported_failure = key
            self._log.add(kind, digest, source, text)

    def _source_in_service(self) -> str:
        """Return the path or alias from which the bundle in service was resolved."""
        candidate = self._rollout.candidate
        if candidate is not None and self._rollout.phase == "watch":
            return candidate.source
        return self._store.source_of(self._host.policy.digest)
