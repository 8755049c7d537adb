"""What the server says that is no inference: metadata, statistics, the page's numbers. Plain JSON trees."""

import time
from typing import Any

from sacpipe.rollout.follower import FollowerStatus
from sacpipe.server.metrics import LATENCY_BOUNDS_US, following_text, prometheus_text
from sacpipe.server.protocol import DATATYPE, INPUT, OUTPUT
from sacpipe.server.service import ActiveModel, Service
from sacpipe.version import __version__

_PLATFORM = "onnx_onnxv1"
_EXTENSIONS = ("binary_tensor_data", "sequence", "statistics")


def server_metadata() -> dict[str, Any]:
    """Return the server's metadata."""
    return {"name": "sacpipe", "version": __version__, "extensions": list(_EXTENSIONS)}


def model_metadata(name: str, active: ActiveModel) -> dict[str, Any]:
    """Return the model's metadata; properties are texts."""
    spec = active.policy.contract.spec
    return {
        "name": name,
        "versions": [active.version],
        "platform": _PLATFORM,
        "inputs": [{"name": INPUT, "datatype": DATATYPE, "shape": [-1, spec.observation_dim]}],
        "outputs": [{"name": OUTPUT, "datatype": DATATYPE, "shape": [-1, spec.action_dim]}],
        "properties": {
            "task": spec.task,
            "policy_kind": "sac-deterministic",
            "bundle_sha256": active.policy.digest,
            "contract_sha256": active.contract_sha256,
            "onnx_sha256": active.policy.onnx_sha256,
            "control_hz": "" if spec.control_period_s is None else f"{1.0 / spec.control_period_s:.10g}",
            "observation_terms": ",".join(f"{term.name}[{term.size}]" for term in spec.observation),
            "action_names": ",".join(term.name for term in spec.action),
        },
    }


def model_statistics(service: Service, active: ActiveModel) -> dict[str, Any]:
    """Return Triton's statistics."""
    return {"model_stats": [active.statistics.as_tree(service.name, active.version)]}


def metrics_text(service: Service, following: FollowerStatus | None) -> bytes:
    """Return the counters for Prometheus."""
    active = service.active
    info = {
        "model": service.name,
        "task": active.policy.contract.spec.task,
        "bundle_sha256": active.policy.digest,
        "contract_sha256": active.contract_sha256,
    }
    text = prometheus_text(
        service.metrics, info, since_s=active.since_s, open_sequences=service.open_sequences
    )
    return text if following is None else text + following_text(following)


def status(service: Service, following: FollowerStatus | None) -> dict[str, Any]:
    """Return what the page shows."""
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
        "causes": {cause: count for cause, count in metrics.causes.items() if count},
        "refused": sum(metrics.refusals.values()),
        "swaps": metrics.swaps,
        "sequences": service.open_sequences,
        "latency": {"bounds_us": list(LATENCY_BOUNDS_US), "counts": list(metrics.infer.counts)},
        "events": [event._asdict() for event in reversed(service.events)],
        "following": None if following is None else _following(following),
    }


def _following(state: FollowerStatus) -> dict[str, Any]:
    divergence = None if state.divergence is None else state.divergence.as_tree()
    return state._asdict() | {"divergence": divergence, "events": [event._asdict() for event in state.events]}
