"""Metadata and statistics of server and model, as the Open Inference Protocol and Triton define them."""

from typing import Any

from sacpipe.server.active_model import ActiveModel
from sacpipe.server.protocol import OUTPUT, OUTPUT_DATATYPE
from sacpipe.server.service import Service
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.version import __version__

_PLATFORM = "onnx_onnxv1"
_EXTENSIONS = ("binary_tensor_data", "sequence", "statistics")


def server_metadata() -> dict[str, Any]:
    """Return the server's metadata."""
    return {"name": "sacpipe", "version": __version__, "extensions": list(_EXTENSIONS)}


def model_metadata(name: str, active: ActiveModel) -> dict[str, Any]:
    """Return the model's metadata. The values of `properties` are texts."""
    spec, inputs = active.policy.contract.spec, active.inputs
    terms = [
        {"name": form.name, "datatype": form.datatype, "shape": [-1, *form.shape]}
        for form in inputs.terms.values()
    ]
    return {
        "name": name,
        "versions": [active.version],
        "platform": _PLATFORM,
        "inputs": terms,
        "outputs": [{"name": OUTPUT, "datatype": OUTPUT_DATATYPE, "shape": [-1, spec.action_dim]}],
        "properties": {
            "task": spec.task,
            "algorithm": active.policy.contract.provenance.algorithm,
            "bundle_sha256": active.policy.digest,
            "contract_sha256": active.contract_sha256,
            "onnx_sha256": active.policy.onnx_sha256,
            "control_hz": "" if spec.control_period_s is None else f"{1.0 / spec.control_period_s:.10g}",
            "observation_terms": _terms_text(spec),
            "flat_input": "" if inputs.flat is None else f"{inputs.flat.name}[{inputs.flat.size}]",
            "action_names": ",".join(term.name for term in spec.action),
        },
    }


def _terms_text(spec: EnvSpec) -> str:
    """Return names and shapes of the terms, e.g. `position[2],camera[64x64x3]`."""
    return ",".join(f"{term.name}[{'x'.join(map(str, term.shape))}]" for term in spec.observation)


def model_statistics(service: Service, active: ActiveModel) -> dict[str, Any]:
    """Return Triton's statistics of the active policy."""
    return {"model_stats": [active.statistics.as_tree(service.name, active.version)]}
