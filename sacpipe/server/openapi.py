"""The OpenAPI 3.1 document of the server, for the active policy."""

from typing import Any

from sacpipe.rollout.phases import PHASE_NAMES
from sacpipe.server.active_model import MAX_BATCH, ActiveModel
from sacpipe.server.inputs import InputForm, Inputs
from sacpipe.server.metadata import server_metadata
from sacpipe.server.protocol import OUTPUT
from sacpipe.version import __version__

_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_STAMP = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_ERROR = {"type": "object", "required": ["error"], "properties": {"error": _TEXT}}
_HEADER = "Inference-Header-Content-Length"


def openapi(name: str, active: ActiveModel) -> dict[str, Any]:
    """Return the document as a JSON tree.

    Args:
        name: Name of the model.
        active: The active policy; the schemas have its terms and the size of its actions.
    """
    model, versioned = f"/v2/models/{name}", f"/v2/models/{name}/versions/{{version}}"
    spec = active.policy.contract.spec
    infer = _infer(active.inputs, spec.action_dim)
    paths: dict[str, Any] = {
        "/v2": _get("The server's metadata", _object(name=_TEXT, version=_TEXT, extensions=_list(_TEXT))),
        "/v2/health/live": _get("Whether the process is alive", _object(live={"const": True})),
        "/v2/health/ready": _ready("Whether it takes requests", _object(ready={"type": "boolean"})),
        "/v2/models/stats": _get("Statistics of every model", _statistics()),
        "/metrics": _get("Counters for Prometheus", _TEXT, "text/plain"),
        "/status.json": _get("Values that the page shows", _status()),
    }
    for path, parameters in ((model, []), (versioned, [_version(active.version)])):
        answers = {
            "": _get("The model's metadata", _metadata()),
            "/ready": _ready("Whether it is ready", _object(name=_TEXT, ready={"type": "boolean"})),
            "/stats": _get("The model's statistics", _statistics()),
            "/infer": infer,
        }
        for verb, item in answers.items():
            paths[path + verb] = item | {"parameters": parameters} if parameters else item
    return {
        "openapi": "3.1.0",
        "info": {"title": server_metadata()["name"], "version": __version__, "summary": spec.task},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _answer(text: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": schema}}}


def _refusals(*statuses: int) -> dict[str, Any]:
    return {
        str(status): _answer("Refused; `error` has the reason", _ERROR) for status in (401, 403, *statuses)
    }


def _get(text: str, schema: dict[str, Any], kind: str = "application/json") -> dict[str, Any]:
    return {"get": {"summary": text, "responses": {"200": _answer(text, schema, kind)} | _refusals(404, 413)}}


def _ready(text: str, schema: dict[str, Any]) -> dict[str, Any]:
    item = _get(text, schema)
    item["get"]["responses"]["503"] = _answer("Not ready", schema)
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


def _metadata() -> dict[str, Any]:
    tensors = _list(_object(name=_TEXT, datatype=_TEXT, shape=_list({"type": "integer"})))
    properties = {"type": "object", "additionalProperties": _TEXT}
    return _object(
        name=_TEXT,
        versions=_list(_TEXT),
        platform=_TEXT,
        inputs=tensors,
        outputs=tensors,
        properties=properties,
    )


def _statistics() -> dict[str, Any]:
    duration = _object(count=_COUNT, ns=_COUNT)
    keys = ("success", "fail", "queue", "compute_input", "compute_infer", "compute_output")
    one = _object(
        name=_TEXT,
        version=_TEXT,
        last_inference=_COUNT,
        inference_count=_COUNT,
        execution_count=_COUNT,
        inference_stats=_object(**dict.fromkeys(keys, duration)),
    )
    return _object(model_stats=_list(one))


def _status() -> dict[str, Any]:
    number = {"type": "number"}
    event = _object(unix_s=number, kind=_TEXT, bundle_digest=_TEXT, source=_TEXT, text=_TEXT)
    follower = _object(
        phase={"enum": list(PHASE_NAMES)},
        source=_TEXT,
        candidate=_TEXT,
        divergence={"type": ["object", "null"]},
        is_reachable={"type": "boolean"},
        last_look_unix_s=number,
        errors=_COUNT,
        bad=_COUNT,
        events=_list(event),
        counts={"type": "object", "additionalProperties": _COUNT},
    )
    return _object(
        name=_TEXT,
        task=_TEXT,
        bundle_sha256=_TEXT,
        since_s=number,
        now_s=number,
        verdicts={"type": "object", "additionalProperties": _COUNT},
        causes={"type": "object", "additionalProperties": _COUNT},
        follower={"anyOf": [follower, {"type": "null"}]},
    )


def _infer(inputs: Inputs, action_dim: int) -> dict[str, Any]:
    answer = _object(
        model_name=_TEXT,
        model_version=_TEXT,
        parameters={"type": "object", "required": ["verdict", "reasons", "bundle_sha256"]},
        outputs=_list(_tensor(InputForm.of(OUTPUT, "float32", (action_dim,)))),
    )
    binary = {"type": "string", "format": "binary"}
    header = {"name": _HEADER, "in": "header", "schema": {"type": "string", "pattern": "^[0-9]{1,10}$"}}
    contents = {
        "application/json": {"schema": _request(inputs)},
        "application/octet-stream": {"schema": binary},
    }
    ok = _answer("The actions", answer)
    ok["content"]["application/octet-stream"] = {"schema": binary}
    return {
        "post": {
            "summary": "Actions for observations",
            "parameters": [header],
            "requestBody": {"required": True, "content": contents},
            "responses": {"200": ok} | _refusals(400, 404, 408, 413, 415, 500, 503),
        }
    }


def _tensor(form: InputForm) -> dict[str, Any]:
    number: dict[str, Any] = {"type": "number"}
    if form.datatype == "UINT8":
        number = {"type": "integer", "minimum": 0, "maximum": 255}
    flat = nested = _list(number)
    for _ in form.shape:
        nested = _list(nested)
    axes = [
        {"type": "integer", "minimum": 1, "maximum": MAX_BATCH},
        *({"const": size} for size in form.shape),
    ]
    shape = _list(_COUNT) | {"prefixItems": axes, "minItems": len(axes), "maxItems": len(axes)}
    tensor = _object(name={"const": form.name}, datatype={"const": form.datatype}, shape=shape)
    tensor["properties"] |= {
        "data": {"anyOf": [flat, nested]},
        "parameters": {
            "type": "object",
            "properties": {"binary_data_size": _COUNT, "stamp_ns": _STAMP},
        },
    }
    return tensor


def _inputs(inputs: Inputs) -> dict[str, Any]:
    """Return the schema of `inputs`: every term once, in any order, or the flat input."""
    terms = [_tensor(form) for form in inputs.terms.values()]
    num = len(terms)
    by_term = _list({"anyOf": terms}) | {
        "minItems": num,
        "maxItems": num,
        "allOf": [{"contains": _object(name={"const": name})} for name in inputs.terms],
    }
    if inputs.flat is None:
        return by_term
    return {"anyOf": [by_term, _list(_tensor(inputs.flat)) | {"minItems": 1, "maxItems": 1}]}


def _request(inputs: Inputs) -> dict[str, Any]:
    flag = {"type": "boolean"}
    request = _object(inputs=_inputs(inputs))
    request["properties"] |= {
        "id": {"type": "string", "maxLength": 128},
        "parameters": {
            "type": "object",
            "properties": {
                "sequence_id": {"type": ["integer", "string"], "minimum": 0, "maxLength": 128},
                "sequence_start": flag,
                "sequence_end": flag,
                "timeout": _COUNT | {"description": "Microseconds"},
                "observation_stamp_ns": _STAMP,
                "binary_data_output": flag,
            },
        },
        "outputs": _list(
            _object(name={"const": OUTPUT})
            | {
                "properties": {
                    "name": {"const": OUTPUT},
                    "parameters": _object() | {"properties": {"binary_data": flag}},
                }
            }
        )
        | {"maxItems": 1},
    }
    return request
