"""The answer of `/metrics`, in Prometheus's text format 0.0.4."""

from collections.abc import Iterable, Mapping
from typing import Any

from sacpipe.rollout.follower_status import FollowerStatus
from sacpipe.rollout.phases import PHASE_NAMES
from sacpipe.server.metrics import LATENCY_BOUNDS_US, Histogram
from sacpipe.server.service import Service

_DROPPED = "Idle sequences dropped for new ones."


def prometheus_text(service: Service, follower: FollowerStatus | None) -> bytes:
    """Render the counters of the server.

    Args:
        service: Counts the requests.
        follower: Status of the follower; None where the server follows no source.
    """
    lines = _service_lines(service) + ([] if follower is None else _follower_lines(follower))
    return ("\n".join(lines) + "\n").encode()


def _service_lines(service: Service) -> list[str]:
    active, metrics = service.active, service.metrics
    info = {
        "model": service.name,
        "task": active.policy.contract.spec.task,
        "bundle_sha256": active.policy.digest,
        "contract_sha256": active.contract_sha256,
    }
    labels = ",".join(f'{name}="{_escape(value)}"' for name, value in info.items())
    return [
        *_family("policy_info", "gauge", "The active policy.", [(labels, 1)]),
        *_family("policy_since_seconds", "gauge", "Unix time of its activation.", active.since_s),
        *_histogram("infer_seconds", "From a request's first byte to its answer.", metrics.infer),
        *_histogram("policy_seconds", "In the policy, guards included.", metrics.policy),
        *_family("verdicts_total", "counter", "Answered requests.", _by("verdict", metrics.verdicts)),
        *_family("causes_total", "counter", "Refusals by guards.", _by("cause", dict(metrics.causes))),
        *_family("refusals_total", "counter", "Refused requests.", _by("status", metrics.refusals)),
        *_family("unexpected_errors_total", "counter", "See the log.", metrics.unexpected_errors),
        *_family("swaps_total", "counter", "Policy swaps.", metrics.swaps),
        *_family("sequences", "gauge", "Open sequences.", len(service.sequences)),
        *_family("sequences_dropped_total", "counter", _DROPPED, metrics.dropped_sequences),
    ]


def _follower_lines(status: FollowerStatus) -> list[str]:
    phases = {phase: int(phase == status.phase) for phase in PHASE_NAMES}
    last_look_s = status.last_look_unix_s
    lines = [
        *_family("follow_phase", "gauge", "1 for the current rollout phase.", _by("phase", phases)),
        *_family("follow_events_total", "counter", "Events of the follower.", _by("kind", status.counts)),
        *_family("follow_reachable", "gauge", "Whether the source answers.", int(status.is_reachable)),
        *_family("follow_last_look_seconds", "gauge", "Unix time of the last good look.", last_look_s),
        *_family("follow_errors_total", "counter", "Unforeseen errors.", status.errors),
        *_family("store_bad_bundles", "gauge", "Bundles marked bad.", status.bad),
    ]
    if (found := status.divergence) is not None:
        shares = {"mean": found.mean, "p99": found.p99, "largest": found.largest}
        steps = {"compared": found.steps, "dropped": found.dropped, "refused": found.refused}
        lines += [
            *_family("divergence", "gauge", "Of two policies, as a share of the range.", _by("of", shares)),
            *_family("divergence_steps", "gauge", "Steps of that comparison.", _by("which", steps)),
        ]
    return lines


def _by(label: str, counts: Mapping[Any, float]) -> list[tuple[str, float]]:
    return [(f'{label}="{_escape(str(key))}"', count) for key, count in counts.items()]


def _family(name: str, kind: str, text: str, samples: float | Iterable[tuple[str, float]]) -> list[str]:
    full = f"sacpipe_{name}"
    samples = [("", samples)] if isinstance(samples, float | int) else samples
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
