"""Metadata and statistics of server and model, as the Open Inference Protocol and Triton define them."""

from typing import Any

from sacpipe.server.active_model import ActiveModel
from sacpipe.server.protocol import DATATYPE, INPUT, OUTPUT
from sacpipe.server.service import Service
from sacpipe.version import __version__

_PLATFORM = "onnx_onnxv1"
_EXTENSIONS = ("binary_tensor_data", "sequence", "statistics")


def server_metadata() -> dict[str, Any]:
    """Return the server's metadata."""
    return {"name": "sacpipe", "version": __version__, "extensions": list(_EXTENSIONS)}


def model_metadata(name: str, active: ActiveModel) -> dict[str, Any]:
    """Return the model's metadata. The values of `properties` are texts."""
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
    """Return Triton's statistics of the active policy."""
    return {"model_stats": [active.statistics.as_tree(service.name, active.version)]}
