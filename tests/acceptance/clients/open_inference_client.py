"""Asks the server at an address everything that the client generated from the protocol's own page can ask."""

import sys

from open_inference.openapi.client import InferenceRequest, OpenInferenceClient
from open_inference.openapi.core.api_error import ApiError

ROWS = [[0.5, 0.25, 0.0], [0.0, 9.0, 2.0]]


def request(rows, name="observation"):
    tensor = {"name": name, "shape": [len(rows), 3], "datatype": "FP32", "data": rows}
    return InferenceRequest(id="9", inputs=[tensor])


def refusal(call, *arguments, **named):
    try:
        call(*arguments, **named)
    except ApiError as exc:
        return exc.status_code, str(exc.body)
    raise AssertionError("nothing was refused")


client = OpenInferenceClient(base_url=sys.argv[1])
client.check_server_liveness()
client.check_server_readiness()
client.check_model_readiness("policy")
assert client.read_server_metadata().name == "sacpipe"

metadata = client.read_model_metadata("policy")
version = metadata.versions[0]
assert client.read_model_version_metadata("policy", version) == metadata
client.check_model_version_readiness("policy", version)
assert metadata.platform == "onnx_onnxv1"
assert [(tensor.name, tensor.datatype, tensor.shape) for tensor in metadata.inputs] == [
    ("position", "FP32", [-1, 2]),
    ("velocity", "FP32", [-1, 1]),
]
assert metadata.properties["action_names"] == "shoulder,elbow"

terms = []
first = 0
for tensor in metadata.inputs:
    size = tensor.shape[1]
    data = [row[first : first + size] for row in ROWS]
    terms.append({"name": tensor.name, "shape": [len(ROWS), size], "datatype": tensor.datatype, "data": data})
    first += size

for answer in (
    client.model_infer("policy", request=InferenceRequest(id="9", inputs=terms)),
    client.model_infer("policy", request=request(ROWS)),
    client.model_version_infer("policy", version, request=request(ROWS)),
):
    assert answer.outputs[0].data.__root__ == [1.25, 2.5, -2.0, -4.0]
    assert (answer.id, answer.model_version, answer.parameters["verdict"]) == ("9", version, "ok")

status, said = refusal(client.model_infer, "policy", request=request(ROWS, name="obs"))
assert (status, "missing 'position', 'velocity'; unknown 'obs'" in said) == (400, True), said
status, said = refusal(client.check_model_version_readiness, "policy", "1")
assert (status, f"expected {version}" in said) == (404, True), said
status, said = refusal(client.check_model_readiness, "other")
assert (status, "model: expected 'policy', found 'other'" in said) == (404, True), said
