"""What the server counts, and the text Prometheus reads."""

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sacpipe.bundle.guard_settings import CAUSES, VERDICTS, Cause, Verdict
from sacpipe.rollout.follower import FollowerStatus
from sacpipe.rollout.phases import PHASE_NAMES

LATENCY_BOUNDS_US = (25, 50, 100, 200, 300, 400, 600, 1000, 2000, 5000, 10_000, 50_000, 250_000)
"""Upper ends of the histogram's buckets; one more is open."""


@dataclass(slots=True)
class Histogram:
    """How long something took."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_US) + 1))
    total_ns: int = 0

    def add(self, nanoseconds: int) -> None:
        """Count one."""
        self.counts[bisect.bisect_left(LATENCY_BOUNDS_US, nanoseconds / 1e3)] += 1
        self.total_ns += nanoseconds


@dataclass(slots=True)
class Metrics:
    """Counters of a whole process, whatever policies it served. For one thread."""

    infer: Histogram = field(default_factory=Histogram)
    """Of answered requests: from the first byte to the answer's last."""
    policy: Histogram = field(default_factory=Histogram)
    """Of the same requests: in the policy, guards included."""
    verdicts: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    causes: dict[Cause, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    refusals: dict[int, int] = field(default_factory=dict)
    """Inference requests that got no action, by HTTP status."""
    swaps: int = 0
    dropped_sequences: int = 0
    """The oldest idle ones, to make room."""


def prometheus_text(
    metrics: Metrics, info: Mapping[str, str], *, since_s: float, open_sequences: int
) -> bytes:
    """Render the counters in Prometheus's text format 0.0.4.

    Args:
        metrics: The counters.
        info: Labels that say which policy serves.
        since_s: When it began to, in seconds of the Unix clock.
        open_sequences: Now.
    """
    labels = ",".join(f'{name}="{_escape(value)}"' for name, value in info.items())
    lines = [
        *_family("policy_info", "gauge", "The policy in service.", [(labels, 1)]),
        *_family("policy_since_seconds", "gauge", "When it began to serve, Unix time.", [("", since_s)]),
        *_histogram("infer_seconds", "From a request's first byte to its answer.", metrics.infer),
        *_histogram("policy_seconds", "In the policy, guards included.", metrics.policy),
        *_family("verdicts_total", "counter", "Actions given, by verdict.", _by("verdict", metrics.verdicts)),
        *_family("causes_total", "counter", "Guards that said no.", _by("cause", metrics.causes)),
        *_family("refusals_total", "counter", "Requests refused.", _by("status", metrics.refusals)),
        *_family("swaps_total", "counter", "Changes of policy.", [("", metrics.swaps)]),
        *_family("sequences", "gauge", "Sequences open.", [("", open_sequences)]),
        *_family("sequences_dropped_total", "counter", "To make room.", [("", metrics.dropped_sequences)]),
    ]
    return ("\n".join(lines) + "\n").encode()


def following_text(state: FollowerStatus) -> bytes:
    """Render how the way of a new bundle stands, in the same format."""
    phases = {phase: int(phase == state.phase) for phase in PHASE_NAMES}
    lines = [
        *_family("follow_phase", "gauge", "1 for the phase a new bundle is in.", _by("phase", phases)),
        *_family("follow_events_total", "counter", "What happened on the way.", _by("kind", state.counts)),
        *_family("follow_reachable", "gauge", "Whether the source answers.", [("", int(state.is_reachable))]),
        *_family(
            "follow_last_look_seconds", "gauge", "Last good look, Unix time.", [("", state.last_look_unix_s)]
        ),
        *_family("follow_errors_total", "counter", "Errors not foreseen.", [("", state.errors)]),
        *_family("store_bad_bundles", "gauge", "Never taken again.", [("", state.bad)]),
    ]
    if (seen := state.divergence) is not None:
        shares = {"mean": seen.mean, "p99": seen.p99, "largest": seen.largest}
        steps = {"compared": seen.steps, "dropped": seen.dropped, "refused": seen.refused}
        lines += [
            *_family("divergence", "gauge", "Of two policies, as a share of the range.", _by("of", shares)),
            *_family("divergence_steps", "gauge", "What that was found on.", _by("which", steps)),
        ]
    return ("\n".join(lines) + "\n").encode()


def _by(label: str, counts: Mapping[Any, float]) -> list[tuple[str, float]]:
    return [(f'{label}="{key}"', count) for key, count in counts.items()]


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> list[str]:
    full = f"sacpipe_{name}"
    rows = [f"{full}{{{labels}}} {value}" if labels else f"{full} {value}" for labels, value in samples]
    return [f"# HELP {full} {text}", f"# TYPE {full} {kind}", *rows]


def _histogram(name: str, text: str, histogram: Histogram) -> list[str]:
    full, below = f"sacpipe_{name}", 0
    lines = [f"# HELP {full} {text}", f"# TYPE {full} histogram"]
    for bound_us, count in zip(LATENCY_BOUNDS_US, histogram.counts, strict=False):
        below += count
        lines.append(f'{full}_bucket{{le="{bound_us / 1e6:.10g}"}} {below}')
    total = sum(histogram.counts)
    return [
        *lines,
        f'{full}_bucket{{le="+Inf"}} {total}',
        f"{full}_sum {histogram.total_ns / 1e9:.9f}",
        f"{full}_count {total}",
    ]


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
