"""States of what a follower depends on: each change of a state is one event, also the second time."""

from sacpipe.rollout.follow_events import EventKind, EventLog


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
