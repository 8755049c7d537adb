"""The OpenAPI 3.1 document of the server, for the active policy.

The schemas are those of the structs that decode requests and encode answers. Names, datatypes and shapes of
tensors come from the `Inputs` that check a request.
"""

import functools
import operator
from typing import Any

import msgspec

from sacpipe.server.active_model import MAX_BATCH, ActiveModel
from sacpipe.server.inputs import InputForm, Inputs
from sacpipe.server.metadata import (
    Live,
    ModelMetadata,
    Ready,
    ServerMetadata,
    StatisticsAnswer,
    server_metadata,
)
from sacpipe.server.protocol import OUTPUT, ErrorAnswer, InferAnswer, RequestBody
from sacpipe.server.status import Status
from sacpipe.version import __version__

_Schema = dict[str, Any]
_STRUCTS = (
    RequestBody,
    InferAnswer,
    ErrorAnswer,
    Live,
    Ready,
    ServerMetadata,
    ModelMetadata,
    StatisticsAnswer,
    Status,
)
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_HEADER = {
    "name": "Inference-Header-Content-Length",
    "in": "header",
    "schema": {"type": "string", "pattern": "^[0-9]{1,10}$"},
}


@functools.lru_cache(maxsize=1)
def openapi(active: ActiveModel) -> dict[str, Any]:
    """Return the document as a JSON tree, with the terms and the action of the active policy.

    It is kept for the next call, because it takes 2 ms in which no request is answered.
    """
    model = f"/v2/models/{active.name}"
    spec = active.policy.contract.spec
    paths: dict[str, Any] = {
        "/v2": _get("The server's metadata", ServerMetadata),
        "/v2/health/live": _get("Whether the process is alive", Live),
        "/v2/health/ready": _ready("Whether it takes requests", Ready),
        "/v2/models/stats": _get("Statistics of every model", StatisticsAnswer),
        "/metrics": _get("Counters for Prometheus", None),
        "/status.json": _get("Values that the page shows", Status),
    }
    for path, parameters in ((model, []), (f"{model}/versions/{{version}}", [_version(active.version)])):
        answers = {
            "": _get("The model's metadata", ModelMetadata),
            "/ready": _ready("Whether it is ready", Ready),
            "/stats": _get("The model's statistics", StatisticsAnswer),
            "/infer": _infer(),
        }
        for verb, item in answers.items():
            paths[path + verb] = item | {"parameters": parameters} if parameters else item
    return {
        "openapi": "3.1.0",
        "info": {"title": server_metadata().name, "version": __version__, "summary": spec.task},
        "paths": paths,
        "components": {
            "schemas": _schemas(active.inputs, InputForm.of(OUTPUT, "float32", (spec.action_dim,))),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{}, {"token": []}],
    }


def _content(struct: type | None) -> dict[str, Any]:
    """Return the content of a body: JSON of a struct; None for plain text."""
    if struct is None:
        return {"text/plain": {"schema": {"type": "string"}}}
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{struct.__name__}"}}}


def _answer(text: str, struct: type | None) -> dict[str, Any]:
    return {"description": text, "content": _content(struct)}


def _refusals(*statuses: int) -> dict[str, Any]:
    refusal = _answer("Refused; `error` has the reason", ErrorAnswer)
    return {str(status): refusal for status in (401, 403, *statuses)}


def _get(text: str, struct: type | None) -> dict[str, Any]:
    return {"get": {"summary": text, "responses": {"200": _answer(text, struct)} | _refusals(404, 413)}}


def _ready(text: str, struct: type) -> dict[str, Any]:
    item = _get(text, struct)
    item["get"]["responses"]["503"] = _answer("Not ready", struct)
    return item


def _version(version: str) -> dict[str, Any]:
    text = "The first 12 digits of the bundle's digest, or all of it"
    return {
        "name": "version",
        "in": "path",
        "required": True,
        "description": text,
        "schema": {"type": "string", "pattern": "^[0-9a-f]{12}([0-9a-f]{52})?$"},
        "example": version,
    }


def _infer() -> dict[str, Any]:
    ok = _answer("The actions", InferAnswer)
    ok["content"]["application/octet-stream"] = _BINARY
    return {
        "post": {
            "summary": "Actions for observations",
            "parameters": [_HEADER],
            "requestBody": {
                "required": True,
                "content": _content(RequestBody) | {"application/octet-stream": _BINARY},
            },
            "responses": {"200": ok} | _refusals(400, 404, 408, 413, 415, 500, 503),
        }
    }


def _schemas(inputs: Inputs, output: InputForm) -> dict[str, _Schema]:
    """Return the schemas of the structs by name; those of tensors allow what the active policy has."""
    _, schemas = msgspec.json.schema_components(
        _STRUCTS,
        schema_hook=operator.methodcaller("model_json_schema"),
        ref_template="#/components/schemas/{name}",
    )
    schemas["RequestBody"]["properties"]["inputs"] = _inputs(schemas["InputTensor"], inputs)
    schemas["RequestedOutput"]["properties"]["name"] = {"const": OUTPUT}
    requested, _ = schemas["RequestBody"]["properties"]["outputs"]["anyOf"]
    requested["maxItems"] = 1
    schemas["OutputTensor"] = _tensor(schemas["OutputTensor"], output)
    return schemas


def _list(items: _Schema, **bounds: Any) -> _Schema:
    return {"type": "array", "items": items, **bounds}


def _tensor(tensor: _Schema, form: InputForm) -> _Schema:
    """Return the schema of a tensor of this form, given that of any tensor."""
    number: _Schema = {"type": "number"}
    if form.datatype == "UINT8":
        number = {"type": "integer", "minimum": 0, "maximum": 255}
    flat = nested = _list(number)
    for _ in form.shape:
        nested = _list(nested)
    batch = {"type": "integer", "minimum": 1, "maximum": MAX_BATCH}
    axes = [batch, *({"const": size} for size in form.shape)]
    narrowed = {
        "name": {"const": form.name},
        "datatype": {"const": form.datatype},
        "shape": tensor["properties"]["shape"]
        | {"prefixItems": axes, "minItems": len(axes), "maxItems": len(axes)},
        "data": {"anyOf": [flat, nested]},
    }
    return tensor | {"title": form.name, "properties": tensor["properties"] | narrowed}


def _inputs(tensor: _Schema, inputs: Inputs) -> _Schema:
    """Return the schema of `inputs`: every term once, in any order, or the flat input."""
    terms, num = [_tensor(tensor, form) for form in inputs.terms.values()], len(inputs.terms)
    each = [{"contains": {"properties": {"name": {"const": name}}}} for name in inputs.terms]
    by_term = _list({"anyOf": terms}, minItems=num, maxItems=num, allOf=each)
    if inputs.flat is None:
        return by_term
    return {"anyOf": [by_term, _list(_tensor(tensor, inputs.flat), minItems=1, maxItems=1)]}
