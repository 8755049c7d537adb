"""Metadata, readiness and statistics, as the Open Inference Protocol and Triton define them."""

from msgspec import Struct

from sacpipe.server.active_model import ActiveModel
from sacpipe.server.protocol import OUTPUT, OUTPUT_DATATYPE
from sacpipe.server.statistics import ModelStatistics
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.version import __version__

_PLATFORM = "onnx_onnxv1"
_EXTENSIONS = ("binary_tensor_data", "sequence", "statistics")


class Live(Struct):
    """Whether the process is alive."""

    live: bool


class Ready(Struct, omit_defaults=True, kw_only=True):
    """Whether the server takes requests, or the model `name` does, and why not."""

    name: str | None = None
    ready: bool
    live: bool | None = None
    error: str | None = None


class ServerMetadata(Struct):
    """Metadata of the server."""

    name: str
    version: str
    extensions: tuple[str, ...]


class TensorMetadata(Struct):
    """An input or output of the model; the batch, whose size is free, is -1 in its shape."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(Struct):
    """Metadata of the model."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    properties: dict[str, str]


class StatisticsAnswer(Struct):
    """Statistics of every model; the server has one."""

    model_stats: list[ModelStatistics]


def server_metadata() -> ServerMetadata:
    """Return the server's metadata."""
    return ServerMetadata("sacpipe", __version__, _EXTENSIONS)


def model_metadata(active: ActiveModel) -> ModelMetadata:
    """Return the model's metadata."""
    spec, inputs = active.policy.contract.spec, active.inputs
    return ModelMetadata(
        name=active.name,
        versions=[active.version],
        platform=_PLATFORM,
        inputs=[
            TensorMetadata(form.name, form.datatype, [-1, *form.shape]) for form in inputs.terms.values()
        ],
        outputs=[TensorMetadata(OUTPUT, OUTPUT_DATATYPE, [-1, spec.action_dim])],
        properties={
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
    )


def _terms_text(spec: EnvSpec) -> str:
    """Return names and shapes of the terms, e.g. `position[2],camera[64x64x3]`."""
    return ",".join(f"{term.name}[{'x'.join(map(str, term.shape))}]" for term in spec.observation)
