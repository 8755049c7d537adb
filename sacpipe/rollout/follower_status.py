"""The status of a follower, for operators and monitoring."""

from dataclasses import dataclass

from sacpipe.robot.shadow import Divergence
from sacpipe.rollout.follow_events import EventKind, FollowEvent
from sacpipe.rollout.phases import PhaseName


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
