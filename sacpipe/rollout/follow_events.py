"""The events of a follower: each is one line on stderr, and the last ones are kept for its status.

Each change of a state of what it depends on is one event, also the second time.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Literal

from sacpipe.core.logging import report_line
from sacpipe.rollout.store_state import Outcome

EventKind = (
    Literal["started", "store", "noticed", "refused", "failed", "error", "recovered"]
    | Literal["unreachable", "reachable", "shadow", "watch", "rollback", "barred", "allowed", "halted"]
    | Outcome
)
"""What happened; docs/serving.md explains each kind."""

_MAX_EVENTS = 50


@dataclass(frozen=True, slots=True)
class FollowEvent:
    """One event."""

    unix_s: float
    kind: EventKind
    bundle_digest: str
    """Digest of the bundle concerned; empty where no bundle is known."""
    source: str
    text: str


class EventLog:
    """Writes events to stderr, counts them by kind and keeps the last ones. From any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: deque[FollowEvent] = deque(maxlen=_MAX_EVENTS)
        self._counts: dict[EventKind, int] = {}

    @property
    def events(self) -> tuple[FollowEvent, ...]:
        """The last events, newest first."""
        with self._lock:
            return tuple(reversed(self._events))

    @property
    def counts(self) -> dict[EventKind, int]:
        """Number of events since the start, by kind."""
        with self._lock:
            return dict(self._counts)

    def add(self, kind: EventKind, digest: str, source: str, text: str) -> None:
        """Record an event.

        Args:
            kind: What happened.
            digest: Digest of the bundle concerned, or empty.
            source: Path, or alias with version, from which the bundle was resolved, or empty.
            text: Details for the operator.
        """
        text = " ".join(text.encode("utf-8", errors="backslashreplace").decode().split())
        with self._lock:
            self._events.append(FollowEvent(time.time(), kind, digest, source, text))
            self._counts[kind] = self._counts.get(kind, 0) + 1
        subject = ", ".join(part for part in (source, digest and f"bundle {digest[:12]}") if part)
        report_line(f"{kind.replace('_', ' ')}: " + (f"{subject}: {text}" if subject else text))


class State:
    """State of one subject, such as the source: fine, or failing in one way.

    Args:
        log: Gets an event at each change.
        back: Kind of the event that reports the recovery.
    """

    def __init__(self, log: EventLog, back: EventKind) -> None:
        self._log, self._back = log, back
        self._failure = ""

    @property
    def is_fine(self) -> bool:
        """Whether the subject is not failing."""
        return not self._failure

    def fail(self, failure: str, kind: EventKind, digest: str, source: str, text: str) -> None:
        """Report a failure, unless it is the one that the subject has already.

        Args:
            failure: Class of the failure: equal failures have equal classes.
            kind: Kind of the event.
            digest: Digest of the bundle concerned, or empty.
            source: Path, or alias with version, from which the bundle was resolved, or empty.
            text: Details for the operator.
        """
        if failure != self._failure:
            self._failure = failure
            self._log.add(kind, digest, source, text)

    def recover(self, digest: str, source: str, text: str) -> None:
        """Report that the subject is fine again, if it failed."""
        if self._failure:
            self._failure = ""
            self._log.add(self._back, digest, source, text)
