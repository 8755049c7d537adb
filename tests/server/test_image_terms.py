"""A policy with an image, a number without axes, a name with signs, and noise: its terms are served by name.

light = mean of the camera, motor = left - right + height, each with normal noise.
"""

import json
import time

import msgspec
import numpy as np
import pytest
from repository import ROOT

from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server.http_errors import RefusalError
from sacpipe.server.metadata import model_metadata
from sacpipe.server.openapi import openapi
from sacpipe.server.service import Call, Service

BUNDLE = ROOT / "tests" / "bundle" / "bundle_v3"
CAMERA = np.array([10, 20, 30, 40], np.uint8).reshape(1, 2, 2, 1)
PLACE = "place/left, right"
MEAN_LIGHT, NOISE = 25.0, 7.0


def tensors(camera=None, **height):
    return [
        {"name": PLACE, "shape": [1, 2], "datatype": "FP32", "data": [[0.5, 0.25]]},
        {"name": "camera", "shape": [1, 2, 2, 1], "datatype": "UINT8"}
        | (camera or {"data": CAMERA.tolist()}),
        {"name": "height", "shape": [1], "datatype": "FP32", "data": [0.0], **height},
    ]


@pytest.fixture
def service():
    return Service(OnnxPolicy(BUNDLE))


def ask(service, inputs, tail=b"", **parameters):
    """Return the light, and the answer's parameters."""
    head = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    call = Call(head + tail, str(len(head)).encode(), None, time.monotonic_ns())
    answer = json.loads(service.answer(call).body)
    return answer["outputs"][0]["data"][0], answer["parameters"]


def test_numbers_and_bytes_give_the_same_actions(service):
    binary = {"parameters": {"binary_data_size": CAMERA.nbytes}}
    lights = [ask(service, tensors())[0], ask(service, tensors(binary), CAMERA.tobytes())[0]]
    np.testing.assert_allclose(lights, MEAN_LIGHT, atol=NOISE)


def test_a_sequence_of_terms_with_a_stamp_each(service):
    now_ns = time.monotonic_ns()
    stamped = tensors(parameters={"stamp_ns": now_ns})
    light, parameters = ask(service, stamped, sequence_id="lamp", sequence_start=True)
    assert abs(light - MEAN_LIGHT) < NOISE
    assert parameters["verdict"] == "ok"
    assert ask(service, stamped, sequence_id="lamp")[1]["reasons"] == ""  # a slow sensor; other terms are new
    earlier = tensors(parameters={"stamp_ns": now_ns - 1})
    assert ask(service, earlier, sequence_id="lamp")[1]["reasons"] == "observation_out_of_order"


def test_listeners_get_every_term(service):
    received = []
    service.listeners.add(lambda seen, stamp, decision: received.append((seen.copy(), decision.verdict)))
    ask(service, tensors())
    (seen, verdict) = received[0]
    assert ({name: array.tolist() for name, array in seen.items()}, verdict) == (
        {"height": 0.0, "camera": CAMERA[0].tolist(), PLACE: [0.5, 0.25]},
        "ok",
    )


def test_the_metadata_list_the_terms_and_no_flat_input(service):
    metadata = msgspec.to_builtins(model_metadata(service.active))
    assert metadata["inputs"] == [
        {"name": "height", "datatype": "FP32", "shape": [-1]},
        {"name": "camera", "datatype": "UINT8", "shape": [-1, 2, 2, 1]},
        {"name": PLACE, "datatype": "FP32", "shape": [-1, 2]},
    ]
    assert metadata["properties"]["flat_input"] == ""
    assert metadata["properties"]["observation_terms"] == f"height[],camera[2x2x1],{PLACE}[2]"


def test_the_page_of_the_api_offers_no_flat_input(service):
    schemas = openapi(service.active)["components"]["schemas"]
    inputs = schemas["RequestBody"]["properties"]["inputs"]
    assert (inputs["minItems"], inputs["maxItems"]) == (3, 3)


def test_a_flat_observation_is_refused_with_the_terms(service):
    flat = [{"name": "observation", "shape": [1, 7], "datatype": "FP32", "data": [0.0] * 7}]
    with pytest.raises(
        RefusalError, match=r"expected 'height', 'camera', 'place/left, right', each once; miss"
    ):
        ask(service, flat)
    with pytest.raises(RefusalError, match="for policies without images; send the terms by name"):
        service.answer(Call(b"\0" * 28, b"0", None, time.monotonic_ns()))
