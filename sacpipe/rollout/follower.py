"""Follows a source: a bundle that it names becomes active, or is rolled back, without an operator.

    resolve ──> pull ──> load gate, in a child ──> store ──> shadow ──> watch ──> current
      every poll_s       sacpipe/rollout/load_gate_process.py   sacpipe/rollout/phases.py
    bars ─────> store, reserve
      every poll_s       sacpipe/rollout/fallback.py

Two threads: one polls the source and may wait for a network or for the load gate; the other advances the
rollout several times a second, so that a rollback never waits. The policy in service goes on whatever fails
here. docs/serving.md has the diagram.
"""

import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Self

from sacpipe.core.errors import (
    BundleError,
    GateError,
    SacpipeError,
    StoreError,
    StoreUnavailableError,
)
from sacpipe.core.fence import first_error
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.context import RolloutEvent, describe_error
from sacpipe.rollout.follow_events import EventKind, EventLog, State
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower_status import FollowerStatus
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.reserve_loader import ReserveLoader
from sacpipe.rollout.rollout import Rollout
from sacpipe.rollout.sources import ResolvedBundle, Source

_ADVANCE_S = 0.2
"""Time between two ticks of the rollout, in seconds."""
_END_S = 1.0
"""Maximum time to wait for each thread at the end, in seconds."""


class Follower:
    """Follows a source inside a `with` block.

    Args:
        source: Resolves to one bundle after the other.
        host: Runs the policy in service; at first the policy of `stored_policies.load_starting_policy`.
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
        self._bars = State(self._log, "recovered")
        """Whether the source says what it bars, and whether that can be noted."""
        self._halt = State(self._log, "recovered")
        """Whether a policy may act."""
        self._reserve = State(self._log, "recovered")
        """Whether a policy to fall back to can be loaded, where one is needed."""
        self._reserves = ReserveLoader(store, settings, lambda policy: policy.check_task(host.spec))
        self._last_look_unix_s, self._errors = 0.0, 0
        self._noticed_digest = ""
        """Digest of the last bundle that was reported as noticed."""
        self._refused_digest, self._retry_at_s = "", 0.0
        """Digest of the last bundle that was refused or failed, and when to try it again."""
        self._offered_digest, self._offered_source = "", ""
        """The last bundle that was offered, and the path or alias from which it was resolved."""
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
        """Resolve the source, note its bars, and begin the rollout of its bundle where it is new."""
        resolved: ResolvedBundle | None = None

        def resolve() -> None:
            nonlocal resolved
            resolved = self._source.resolve()

        def follow(found: ResolvedBundle) -> None:
            if self._is_wanted(found):
                self._begin_rollout(found)

        failure = first_error(resolve)  # reported; the policy in service goes on
        next_digest = "" if resolved is None else resolved.digest
        if not isinstance(failure, StoreUnavailableError):
            self._report_work(self._bars, lambda: self._note_bars(next_digest))
        if self._rollout.phase != "halted":  # there the source's bundle goes first
            self._report_work(self._reserve, lambda: self._prepare_reserve(next_digest))
        self._withdraw_barred()
        if (found := resolved) is not None:
            failure = first_error(lambda: follow(found))
        self._report_work(
            self._reserve, lambda: self._prepare_reserve(next_digest)
        )  # the candidate is another one
        self._report_look(resolved, failure)

    def _report_work(self, state: State, work: Callable[[], None]) -> None:
        """Do what a rollout does not wait for, and report how it goes."""
        if (error := first_error(work)) is not None:
            self._report_failure(state, "", "", error)
        else:
            state.recover("", "", "what failed is fine again")

    def _note_bars(self, next_digest: str) -> None:
        """Ask the source which bundles it bars, of those that the robot holds, runs or gets, and note it.

        Args:
            next_digest: Digest of the bundle that the source names; empty for none.

        Raises:
            SacpipeError: the source failed, or the store cannot be written.
        """
        with self._lock:
            digests = {*self._store.held(), *self._rollout.digests(), next_digest}
        before = self._store.barred
        known = {digest: before.get(digest, "") for digest in digests if digest}
        found = self._source.bars(known)
        with self._lock:
            if self._is_ending.is_set():
                return
            error = first_error(lambda: self._store.note_bars(found, known))
            self._report_bars(before, {digest for digest, text in found.items() if not text})
        if error is not None:
            raise error

    def _report_bars(self, before: Mapping[str, str], allowed: Collection[str]) -> None:
        """Report bars that are new or lifted. A bundle that was refused for one is tried again at once."""
        barred = self._store.barred
        for digest, text in barred.items():
            if digest not in before:
                acts = digest == self._host.policy.digest
                note = f"it is barred: {text}" + ("; it acts until another bundle does" if acts else "")
                self._log.add("barred", digest, self._source_of(digest), note)
        for digest in before.keys() & allowed:
            self._log.add("allowed", digest, self._source_of(digest), "its bar is lifted")
            if digest == self._refused_digest:
                self._refused_digest = ""

    def _withdraw_barred(self) -> None:
        """Withdraw the candidate where it is barred, after the reserve is loaded that acts instead."""
        with self._lock:
            candidate, barred = self._rollout.candidate, self._store.barred
            if candidate is not None and candidate.digest in barred and not self._is_ending.is_set():
                self._report_end(self._rollout.withdraw(f"it is barred: {barred[candidate.digest]}"))

    def _prepare_reserve(self, next_digest: str) -> None:
        """Load a policy to fall back to where the one before the candidate, or in service, is barred.

        Args:
            next_digest: Digest of the bundle that the source names, the next candidate; empty for none.

        Raises:
            StorageError: there is none.
        """
        with self._lock:
            if (candidate := self._rollout.candidate) is not None:
                next_digest = candidate.digest
            elif self._rollout.phase == "halted":
                next_digest = ""
            is_lacking = self._rollout.lacks_reserve(next_digest)
        if not is_lacking:
            return
        policy = self._reserves.load(next_digest)
        with self._lock:
            if self._is_ending.is_set() or not self._rollout.lacks_reserve(next_digest):
                return
            self._rollout.take_reserve(policy)
            self._report_phase()

    def _report_look(self, resolved: ResolvedBundle | None, failure: Exception | None) -> None:
        """Report what changed since the last look at the source."""
        if isinstance(failure, StoreUnavailableError):
            self._reach.fail(f"unreachable {failure.code}", "unreachable", "", "", str(failure))
            return
        self._reach.recover("", "", "the source answers again")
        if resolved is None:
            if failure is not None:
                self._withdraw_refused(failure)
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

    def _withdraw_refused(self, failure: Exception) -> None:
        """Withdraw the candidate where the source refuses what it names: it may be the barred bundle."""
        if isinstance(failure, GateError) and failure.rule == "store":
            with self._lock:
                if self._rollout.candidate is not None and not self._is_ending.is_set():
                    self._report_end(self._rollout.withdraw(f"the source refuses its bundle: {failure}"))

    def _is_wanted(self, resolved: ResolvedBundle) -> bool:
        """Return whether to pull a bundle; withdraw the candidate where the source names another one now."""
        with self._lock:
            if self._is_ending.is_set():
                return False
            candidate = self._rollout.candidate
            if candidate is not None and resolved.digest != candidate.digest:
                reason = f"the source names bundle {resolved.digest[:12]} now, {resolved.source}"
                self._report_end(self._rollout.withdraw(reason))
            elif candidate is not None:
                return False
            if resolved.digest == self._host.policy.digest and self._rollout.phase != "halted":
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
        if self._store.unwritable is not None and self._rollout.phase != "halted":
            raise BundleError(
                f"a rollout needs a store that can be written: {self._store.unwritable}", "store"
            )
        admitted = run_load_gate_in_child(resolved.pull(), self._settings.gate)
        with self._lock:
            if self._is_ending.is_set():  # `__exit__` does not wait for the load gate
                return
            self._offered_digest, self._offered_source = digest, source
            try:
                event = self._rollout.offer(admitted, source)
            finally:
                self._report_phase()  # of a bundle that acts and could not be stored, too
            self._report_end(event)
            self._refused_digest = ""
            self._offer.recover(digest, source, "it is taken now")
            if self._rollout.phase == "shadow":
                self._log.add("shadow", digest, source, "compared, not executed")
            self._report_phase()

    def _advance(self) -> None:
        """Let the rollout check its candidate, and report what happened."""
        with self._lock:
            if self._is_ending.is_set():
                return
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
        self._report_phase()
        if self._rollout.phase == "idle":
            error = first_error(lambda: self._store.prune(self._settings.keep))
            if error is not None:  # old bundles stay; the next end of a rollout tries again
                self._report_failure(self._prune, "", "", error)
            else:
                self._prune.recover("", "", "old bundles were removed")

    def _report_phase(self) -> None:
        """Report that no policy may act, or that one acts again."""
        if self._rollout.phase == "halted":
            self._halt.fail("halted", "halted", "", "", "the robot is stopped: no bundle may act")
        else:
            digest = self._host.policy.digest
            self._halt.recover(digest, self._source_of(digest), "in service at once: no other bundle may act")

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
        return self._source_of(self._host.policy.digest)

    def _source_of(self, digest: str) -> str:
        """Return the path or alias of a bundle that was current or was offered last; empty for another."""
        return self._store.source_of(digest) or (
            self._offered_source if digest == self._offered_digest else ""
        )
