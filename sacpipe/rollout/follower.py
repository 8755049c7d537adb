"""Follows a source: a bundle that it names becomes active, or is rolled back, without an operator.

    resolve ──> pull ──> load gate, in a child ──> store ──> shadow ──> watch ──> current
      every poll_s       sacpipe/rollout/load_gate_process.py   sacpipe/rollout/phases.py

Two threads: one polls the source and may wait for a network or for the load gate; the other advances the
rollout several times a second, so that a rollback never waits. The policy in service goes on whatever fails
here. docs/serving.md has the diagram.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sacpipe.core.errors import (
    BundleError,
    GateError,
    SacpipeError,
    StorageError,
    StoreError,
    StoreUnavailableError,
)
from sacpipe.core.fence import first_error
from sacpipe.core.logging import report_line
from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.context import RolloutEvent, describe_error
from sacpipe.rollout.follow_events import EventKind, EventLog, FollowEvent, State
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.phases import PhaseName
from sacpipe.rollout.rollout import Rollout
from sacpipe.rollout.sources import ResolvedBundle, Source, read_source

_ADVANCE_S = 0.2
"""Time between two ticks of the rollout, in seconds."""
_END_S = 1.0
"""Maximum time to wait for each thread at the end, in seconds."""


@dataclass(frozen=True, slots=True)
class FollowerStatus:
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
    last_look_unix_s: float
    """Time of the last poll that the source answered with a bundle, in Unix seconds; 0 before the first."""
    errors: int
    """Number of errors since the start that were not foreseen."""
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
        self._reach = State(self._log, "reachable")
        """Whether the source answers."""
        self._look = State(self._log, "recovered")
        """Whether the source names a bundle."""
        self._offer = State(self._log, "recovered")
        """Whether the bundle that the source names is taken."""
        self._tick = State(self._log, "recovered")
        """Whether the rollout can go on."""
        self._prune = State(self._log, "recovered")
        """Whether old bundles can be removed."""
        self._last_look_unix_s, self._errors = 0.0, 0
        self._noticed_digest = ""
        """Digest of the last bundle that was reported as noticed."""
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
        for notice in self._store.notices:
            self._log.add("store", "", "", notice)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Stop polling; the policy in service stays. The result of a poll that still waits is dropped."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join(timeout=_END_S)
        if self._lock.acquire(timeout=_END_S):
            try:
                self._rollout.close()
            finally:
                self._lock.release()

    def status(self) -> FollowerStatus:
        """Return the status. From any thread; waits for nothing."""
        candidate = self._rollout.candidate
        return FollowerStatus(
            phase=self._rollout.phase,
            source=self._source_in_service(),
            candidate="" if candidate is None else candidate.digest,
            divergence=self._rollout.divergence(),
            is_reachable=self._reach.is_fine,
            last_look_unix_s=self._last_look_unix_s,
            errors=self._errors,
            bad=len(self._store.bad),
            events=self._log.events,
            counts=self._log.counts,
        )

    def _run_every(self, period_s: float, work: Callable[[], None]) -> None:
        while not self._is_ending.is_set():
            if (error := first_error(work)) is not None:  # without its thread, the follower would be blind
                self._errors += 1
                text = describe_error(error)
                self._tick.fail(f"{type(error).__name__} of the follower", "error", "", "", text)
            self._is_ending.wait(period_s)

    def _poll(self) -> None:
        """Resolve the source, and begin the rollout of its bundle where it is new."""
        resolved: ResolvedBundle | None = None

        def look() -> None:
            nonlocal resolved
            resolved = self._source.resolve()
            if self._is_wanted(resolved):
                self._begin_rollout(resolved)

        failure = first_error(look)  # reported; the policy in service goes on
        self._report_look(resolved, failure)

    def _report_look(self, resolved: ResolvedBundle | None, failure: Exception | None) -> None:
        """Report what changed since the last look at the source."""
        if isinstance(failure, StoreUnavailableError):
            self._reach.fail(f"unreachable {failure.code}", "unreachable", "", "", str(failure))
            return
        self._reach.recover("", "", "the source answers again")
        if resolved is None:
            if failure is not None:
                self._withdraw_barred(failure)
                self._report_failure(self._look, "", "", failure)
            return
        digest, source = resolved.digest, resolved.source
        self._last_look_unix_s = time.time()
        self._look.recover(digest, source, "the source names a bundle again")
        if failure is not None:
            self._refused_digest, self._retry_at_s = digest, time.monotonic() + self._settings.retry_s
            self._report_failure(self._offer, digest, source, failure)
        elif digest != self._refused_digest:
            self._offer.recover(digest, source, "what failed is no longer asked for")

    def _withdraw_barred(self, failure: Exception) -> None:
        """Withdraw the candidate where the source refuses what it names: it may be the barred bundle."""
        if isinstance(failure, GateError) and failure.rule == "store":
            with self._lock:
                if self._rollout.candidate is not None:
                    self._report_end(self._rollout.withdraw(f"the source refuses its bundle: {failure}"))

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
                self._noticed_digest = self._refused_digest = ""
                return False
            return resolved.digest != self._refused_digest or time.monotonic() >= self._retry_at_s

    def _begin_rollout(self, resolved: ResolvedBundle) -> None:
        """Pull a bundle, pass it through the load gate, and begin its shadow phase.

        Raises:
            SacpipeError: the bundle is refused, or the source or the store failed.
            Exception: the comparison could not begin.
        """
        digest, source = resolved.digest, resolved.source
        if digest != self._noticed_digest:
            self._noticed_digest = digest
            self._log.add("noticed", digest, source, "differs from the bundle in service")
        if (refusal := self._rollout.refusal(digest)) is not None:
            raise BundleError(refusal, "store")
        if self._store.unwritable is not None:
            raise BundleError(
                f"a rollout needs a store that can be written: {self._store.unwritable}", "store"
            )
        admitted = run_load_gate_in_child(resolved.pull(), self._settings.gate)
        with self._lock:
            if self._is_ending.is_set():  # `__exit__` does not wait for the load gate
                return
            self._report_end(self._rollout.offer(admitted, source))
            self._refused_digest = ""
            self._offer.recover(digest, source, "it is taken now")
            self._log.add("shadow", digest, source, "compared, not executed")

    def _advance(self) -> None:
        """Let the rollout check its candidate, and report what happened."""
        with self._lock:
            phase_before = self._rollout.phase
            candidate = self._rollout.candidate
            digest, source = ("", "") if candidate is None else (candidate.digest, candidate.source)
            try:
                event = self._rollout.tick()
            except Exception as exc:  # noqa: BLE001 - the phase goes on, or is ended by a later tick
                self._report_failure(self._tick, digest, source, exc)
                return
            phase = self._rollout.phase
            if phase == "watch" != phase_before:
                self._log.add("watch", digest, source, "in service, and watched")
            elif phase == "rollback" != phase_before:
                self._errors += 1
                self._log.add("rollback", digest, source, f"it is tried again: {self._rollout.fault}")
            if event is not None and event.outcome == "withdrawn":  # by an error, not by the source
                self._errors += 1
                self._refused_digest = event.bundle_digest
                self._retry_at_s = time.monotonic() + self._settings.retry_s
            self._tick.recover(digest, source, "the rollout goes on")
            self._report_end(event)

    def _report_end(self, event: RolloutEvent | None) -> None:
        """Report the end of a rollout, if one ended, and remove old bundles from the store."""
        if event is None:
            return
        self._log.add(event.outcome, event.bundle_digest, event.source, event.reason)
        if self._rollout.phase == "idle":
            error = first_error(lambda: self._store.prune(self._settings.keep))
            if error is not None:  # old bundles stay; the next end of a rollout tries again
                self._report_failure(self._prune, "", "", error)
            else:
                self._prune.recover("", "", "old bundles were removed")

    def _report_failure(self, state: State, digest: str, source: str, failure: Exception) -> None:
        """Report a failure, unless it is the state already."""
        kind: EventKind = "failed"
        detail, text = "", describe_error(failure)
        if isinstance(failure, BundleError):
            kind, detail = "refused", failure.rule or "contract"
            text = text if isinstance(failure, GateError) else f"refused by the rule '{detail}': {text}"
        elif isinstance(failure, StoreError):
            detail = failure.code
        elif not isinstance(failure, SacpipeError):
            kind = "error"
            self._errors += 1
        state.fail(f"{type(failure).__name__} {detail} {digest}", kind, digest, source, text)

    def _source_in_service(self) -> str:
        """Return the path or alias from which the bundle in service was resolved."""
        candidate = self._rollout.candidate
        if candidate is not None and self._rollout.phase == "watch":
            return candidate.source
        return self._store.source_of(self._host.policy.digest)


def load_starting_policy(source: Source, store: BundleStore, settings: LoadGateSettings) -> OnnxPolicy:
    """Load the policy to start with, and make its bundle the store's current one.

    The load gate checks the bundles of the store that were in service again, the newest first. The source is
    resolved only where none passes: a robot starts without a network.

    Args:
        source: Resolved only where no bundle of the store passes.
        store: Holds the bundles that were in service.
        settings: Acceptance settings of the load gate.

    Raises:
        BundleError: no bundle of the store passes, and the source's bundle is refused.
        StoreError: no bundle of the store passes, and the source failed.
        StorageError: no bundle of the store passes, and the store cannot be written.
    """
    for stored in store.good():
        try:
            policy = _pass_again(store.path(stored.bundle_digest), settings)
        except BundleError as exc:
            report_line(f"bundle {stored.bundle_digest[:12]} of the store cannot serve: {exc}")
            continue
        if store.current() != stored:
            try:
                store.set_current(stored.bundle_digest, stored.source)
            except StorageError as exc:  # a good policy serves, whatever the disk does
                report_line(
                    f"bundle {stored.bundle_digest[:12]} serves and is not the store's current one: {exc}"
                )
        return policy
    for notice in store.notices:  # no bundle of the store passes: the notices may say why
        report_line(notice)
    resolved = source.resolve()
    admitted = run_load_gate_in_child(resolved.pull(), settings)
    store.set_current(store.add(admitted), resolved.source)
    return admitted.policy


def _pass_again(folder: Path, settings: LoadGateSettings) -> OnnxPolicy:
    """Check a stored bundle again; a second time where it was too slow, as a starting machine is busy."""
    # The digests of the store verify every byte: a further name, as of a backup by `cp -al`, is harmless.
    files = read_source(folder, allow_hard_links=True)
    try:
        return run_load_gate_in_child(files, settings).policy
    except GateError as exc:
        if exc.rule != "timing":
            raise
        return run_load_gate_in_child(files, settings).policy
