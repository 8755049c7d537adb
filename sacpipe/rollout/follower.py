"""Follows a source: what it names comes into service by itself, and goes back by itself.

    find ──> pull ──> judge, in a child ──> store.add ──> shadow ──> watch ──> serves
      every poll_s      sacpipe/rollout/load_gate_process.py           sacpipe/rollout/rollout.py

Two threads: one looks what the source names and may wait for a network or a child; the other looks
after what is on its way, a few times a second, so that the way back never waits. Whatever fails here,
the policy in service goes on. docs/serving.md has the picture.
"""

import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, NamedTuple, Self

from sacpipe.core.errors import BundleError, GateError, SacpipeError, StoreUnavailableError
from sacpipe.robot.load_gate import LoadGateSettings
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.policy_host import PolicyHost
from sacpipe.robot.shadow import Divergence
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.load_gate_process import run_load_gate_in_child
from sacpipe.rollout.phases import Outcome, PhaseName, RolloutEvent
from sacpipe.rollout.rollout import Rollout
from sacpipe.rollout.sources import ResolvedBundle, Source, read_source

Kind = (
    Literal["begins", "noticed", "refused", "failed", "unreachable", "reachable", "shadow", "watch"] | Outcome
)
"""What an event is about; docs/serving.md explains each."""

_TICK_S = 0.2
_REMEMBERED = 50
_LOGGER = logging.getLogger(__name__)


class FollowEvent(NamedTuple):
    """Something that happened on the way."""

    unix_s: float
    kind: Kind
    bundle_digest: str
    """Empty where it is not known."""
    source: str
    text: str


class FollowerStatus(NamedTuple):
    """How things stand, for people and monitors."""

    phase: PhaseName
    source: str
    """Of the bundle in service, as it was resolved."""
    candidate: str
    """Digest of what is on its way, in the shadow or the watch; empty where nothing is."""
    divergence: Divergence | None
    """Of the comparison that goes on now."""
    is_reachable: bool
    """Whether the source answered when it was asked last."""
    bad: int
    """Bundles that are never taken again."""
    events: tuple[FollowEvent, ...]
    """The last ones, newest first."""
    counts: dict[Kind, int]
    """Of events since the start."""


def begin(source: Source, store: BundleStore, settings: LoadGateSettings) -> OnnxPolicy:
    """Return the policy to begin with: the last one that served and still passes, else what the source names.

    It is the store's current one from now on. What the source names besides it takes the usual way, once
    the server runs.

    Raises:
        BundleError: none of the store's passes, and what is named is refused.
        StoreError: none of the store's passes, and the source failed.
        StorageError: the store cannot be written.
    """
    for kept in store.good():
        try:
            policy = _judge_kept(store.path(kept.bundle_digest), settings)
        except BundleError as exc:
            _say(f"bundle {kept.bundle_digest[:12]} of the store cannot serve: {exc}")
            continue
        if store.current() != kept:
            store.set_current(kept.bundle_digest, kept.source)
        return policy
    named = source.find()
    admitted = run_load_gate_in_child(named.pull(), settings)
    store.set_current(store.add(admitted), named.text)
    return admitted.policy


def _judge_kept(folder: Path, settings: LoadGateSettings) -> OnnxPolicy:
    """Judge a bundle of the store; twice where it was too slow, as a machine that starts is busy."""
    files = read_source(folder, allow_hard_links=False)
    try:
        return run_load_gate_in_child(files, settings).policy
    except GateError as exc:
        if exc.rule != "timing":
            raise
        return run_load_gate_in_child(files, settings).policy


class Follower:
    """Follows a source from `with` to its end.

    Args:
        source: Names bundles.
        in_service: Acts; with what `begin` gave, at first.
        store: Keeps them.
        settings: What is asked.
    """

    def __init__(
        self, source: Source, host: PolicyHost, store: BundleStore, settings: FollowSettings
    ) -> None:
        self._source, self._host, self._store, self._settings = source, host, store, settings
        self._rollout = Rollout(host, store, settings.rollout)
        self._lock = threading.Lock()
        """Held while something is done with the rollout."""
        self._is_ending = threading.Event()
        self._events: deque[FollowEvent] = deque(maxlen=_REMEMBERED)
        self._counts: dict[Kind, int] = {}
        self._is_reachable = True
        self._noticed = self._complaint = ""
        self._refused, self._retry_at_s = "", 0.0
        self._threads = [
            threading.Thread(target=self._every, args=(period_s, work), name=name, daemon=True)
            for name, period_s, work in (
                ("follow", settings.poll_s, self._look),
                ("rollout", _TICK_S, self._tick),
            )
        ]

    def __enter__(self) -> Self:
        """Begin to look."""
        self._note("begins", self._host.policy.digest, self._source_text(), "serves from the start")
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look no longer; the policy in service stays. A look that still waits is not heard."""
        self._is_ending.set()
        for thread in self._threads:
            thread.join(timeout=1.0)
        with self._lock:
            self._rollout.close()

    def state(self) -> FollowerStatus:
        """Return how things stand. From any thread; waits for nothing."""
        way = self._rollout.candidate
        return FollowerStatus(
            phase=self._rollout.phase,
            source=self._source_text(),
            candidate="" if way is None else way.digest,
            divergence=self._rollout.divergence(),
            is_reachable=self._is_reachable,
            bad=len(self._store.bad),
            events=tuple(reversed(self._events)),
            counts=dict(self._counts),
        )

    def _every(self, period_s: float, work: Callable[[], None]) -> None:
        while not self._is_ending.is_set():
            try:
                work()
            except Exception:
                _LOGGER.exception("sacpipe: following failed; the policy in service goes on")
            self._is_ending.wait(period_s)

    def _look(self) -> None:
        """See what the source names, and take it where it is new."""
        named: ResolvedBundle | None = None
        fault: SacpipeError | None = None
        try:
            named = self._source.find()
            if self._is_wanted(named):
                self._take(named)
        except SacpipeError as exc:
            fault = exc
        if isinstance(fault, StoreUnavailableError):
            self._is_reachable = False
            self._complain(None, fault)
            return
        if not self._is_reachable:
            self._is_reachable, self._complaint = True, ""
            self._note("reachable", "", "", "the source answers again")
        self._complain(named, fault)

    def _is_wanted(self, named: ResolvedBundle) -> bool:
        """Say whether a bundle is to be pulled; withdraw what is on its way where another is named now."""
        with self._lock:
            way = self._rollout.candidate
            if way is not None and named.digest != way.digest:
                self._end(self._rollout.withdraw(f"{named.text}, bundle {named.digest[:12]}, is named now"))
            elif way is not None:
                return False
            if named.digest == self._host.policy.digest:
                return False
            return named.digest != self._refused or time.monotonic() >= self._retry_at_s

    def _take(self, named: ResolvedBundle) -> None:
        """Pull a bundle, judge it, and let it begin its way.

        Raises:
            SacpipeError: it is refused, or something on the way failed.
        """
        if named.digest != self._noticed:
            self._noticed = named.digest
            self._note("noticed", named.digest, named.text, "another than in service")
        if (reason := self._store.bad.get(named.digest)) is not None:
            raise BundleError(f"it is marked bad: {reason}", "store")
        admitted = run_load_gate_in_child(named.pull(), self._settings.gate)
        with self._lock:
            if self._is_ending.is_set():  # a judgement may take a minute, and nobody waits for it
                return
            self._end(self._rollout.offer(admitted, named.text))
            self._note("shadow", named.digest, named.text, "is compared, not executed")
        self._complaint = ""

    def _tick(self) -> None:
        """Look after what is on its way."""
        with self._lock:
            before = self._rollout.phase
            try:
                event = self._rollout.tick()
            except SacpipeError as exc:
                self._complain(None, exc)
                return
            way = self._rollout.candidate
            if way is not None and self._rollout.phase != before:
                self._note("watch", way.digest, way.source, "acts, and is watched")
            self._end(event)

    def _end(self, event: RolloutEvent | None) -> None:
        if event is None:
            return
        self._note(event.outcome, event.bundle_digest, event.source, event.reason)
        if self._rollout.phase == "idle":
            try:
                self._store.prune(self._settings.keep)
            except SacpipeError as exc:
                self._complain(None, exc)

    def _complain(self, named: ResolvedBundle | None, fault: SacpipeError | None) -> None:
        """Say what went wrong, once for as long as it stays the same."""
        if fault is None:
            return
        digest, source = ("", "") if named is None else (named.digest, named.text)
        if named is not None:
            self._refused, self._retry_at_s = digest, time.monotonic() + self._settings.retry_s
        kind: Kind = "unreachable" if isinstance(fault, StoreUnavailableError) else "failed"
        rule, text = "", str(fault)
        if isinstance(fault, BundleError):
            kind, rule = "refused", fault.rule or "contract"
            text = text if isinstance(fault, GateError) else f"refused by the rule '{rule}': {text}"
        key = f"{type(fault).__name__} {rule} {digest}"
        if key != self._complaint:
            self._complaint = key
            self._note(kind, digest, source, text)

    def _source_text(self) -> str:
        """Return what the bundle in service was resolved from."""
        way = self._rollout.candidate
        if way is not None and self._rollout.phase == "watch":
            return way.source
        return self._store.source_of(self._host.policy.digest)

    def _note(self, kind: Kind, digest: str, source: str, text: str) -> None:
        text = " ".join(text.split())
        self._events.append(FollowEvent(time.time(), kind, digest, source, text))
        self._counts[kind] = self._counts.get(kind, 0) + 1
        what = ", ".join(part for part in (source, digest and f"bundle {digest[:12]}") if part)
        _say(f"{kind.replace('_', ' ')}: " + (f"{what}: {text}" if what else text))


def _say(text: str) -> None:
    sys.stderr.write(f"sacpipe: {text}\n")
    sys.stderr.flush()
