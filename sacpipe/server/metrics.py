"""The counters of the server. sacpipe/server/prometheus.py renders them."""

import bisect
from collections import Counter
from dataclasses import dataclass, field

from sacpipe.robot.decision import VERDICTS, Verdict

LATENCY_BOUNDS_US = (25, 50, 100, 200, 300, 400, 600, 1000, 2000, 5000, 10_000, 50_000, 250_000)
"""Upper bounds of the histogram's buckets, in microseconds; a last bucket has no upper bound."""


@dataclass(slots=True)
class Histogram:
    """Counts of durations, by bucket."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_US) + 1))
    total_ns: int = 0
    """Sum of the durations, in nanoseconds."""

    def add(self, nanoseconds: int) -> None:
        """Count one duration."""
        self.counts[bisect.bisect_left(LATENCY_BOUNDS_US, nanoseconds / 1e3)] += 1
        self.total_ns += nanoseconds


@dataclass(slots=True)
class Metrics:
    """Counters of the whole process, over all its policies. For one thread."""

    infer: Histogram = field(default_factory=Histogram)
    """Durations of answered requests, from the first byte of the request to the last byte of the answer."""
    policy: Histogram = field(default_factory=Histogram)
    """Durations of the policy in the same requests, guards included."""
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    """Number of answered requests by verdict."""
    causes: Counter[str] = field(default_factory=Counter)
    """Number of refusals by name of the guard."""
    refusals: dict[int, int] = field(default_factory=dict)
    """Number of inference requests without an action, by HTTP status."""
    unexpected_errors: int = 0
    """Number of unforeseen errors, of requests and listeners. The log has each."""
    swaps: int = 0
    dropped_sequences: int = 0
    """Number of idle sequences that were dropped for new ones."""
