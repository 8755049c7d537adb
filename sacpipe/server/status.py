"""The answer of `/status.json`: the values that the page shows, as a JSON tree."""

import time
from typing import Any

from sacpipe.rollout.follower import FollowerStatus
from sacpipe.server.metrics import LATENCY_BOUNDS_US
from sacpipe.server.service import Service


def status_tree(service: Service, follower: FollowerStatus | None) -> dict[str, Any]:
    """Return the status of the server.

    Args:
        service: Runs the active policy and counts the requests.
        follower: Status of the follower; None where the server follows no source.
    """
    active, metrics = service.active, service.metrics
    spec = active.policy.contract.spec
    return {
        "name": service.name,
        "task": spec.task,
        "bundle_sha256": active.policy.digest,
        "version": active.version,
        "since_s": active.since_s,
        "now_s": time.time(),
        "is_draining": service.is_draining,
        "actions": [{"name": term.name, "unit": term.unit} for term in spec.action],
        "verdicts": dict(metrics.verdicts),
        "causes": {cause: count for cause, count in dict(metrics.causes).items() if count},
        "refused": sum(metrics.refusals.values()),
        "swaps": metrics.swaps,
        "sequences": service.open_sequences,
        "latency": {"bounds_us": list(LATENCY_BOUNDS_US), "counts": list(metrics.infer.counts)},
        "events": [event._asdict() for event in reversed(service.events)],
        "follower": None if follower is None else _follower_tree(follower),
    }


def _follower_tree(status: FollowerStatus) -> dict[str, Any]:
    divergence = None if status.divergence is None else status.divergence.as_tree()
    return status._asdict() | {
        "divergence": divergence,
        "events": [event._asdict() for event in status.events],
    }
