"""Asks the server at an address everything that KServe's REST client can ask by protocol v2."""

import asyncio
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ROWS = [[0.5, 0.25, 0.0], [0.0, 9.0, 2.0]]
ACTIONS = [[1.25, 2.5], [-2.0, -4.0]]


def request(*, is_binary, outputs=None, name="observation", parameters=None):
    array = np.array(ROWS, np.float32)
    given = InferInput(name, list(array.shape), "FP32")
    given.set_data_from_numpy(array, binary_data=is_binary)
    return InferRequest("policy", [given], request_id="9", request_outputs=outputs, parameters=parameters)


def by_terms(*, is_binary):
    inputs = []
    for name, columns in (("velocity", slice(2, 3)), ("position", slice(0, 2))):
        array = np.array(ROWS, np.float32)[:, columns]
        inputs.append(InferInput(name, list(array.shape), "FP32"))
        inputs[-1].set_data_from_numpy(array, binary_data=is_binary)
    return InferRequest("policy", inputs, request_id="9")


async def refusal(client, address, model, infer_request):
    try:
        await client.infer(address, infer_request, model_name=model)
    except httpx.HTTPStatusError as exc:
        return exc.response.status_code, str(exc)
    raise AssertionError("nothing was refused")


async def ask(address):
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
        assert await client.is_server_live(address) is True
        assert await client.is_server_ready(address) is True
        assert await client.is_model_ready(address, "policy") is True
        assert await client.is_model_ready(address, "other") is False
        for is_binary in (False, True):
            for wanted in (None, False, True):
                outputs = None if wanted is None else [RequestedOutput("action", {"binary_data": wanted})]
                infer_request = request(is_binary=is_binary, outputs=outputs)
                answer = await client.infer(address, infer_request, model_name="policy")
                assert answer.outputs[0].as_numpy().tolist() == ACTIONS
                assert (answer.id, answer.model_name) == ("9", "policy")
                assert answer.parameters["verdict"] == "ok"
        infer_request = request(is_binary=True, parameters={"binary_data_output": True})
        answer = await client.infer(address, infer_request, model_name="policy")
        assert answer.outputs[0].as_numpy().tolist() == ACTIONS
        for is_binary in (False, True):
            answer = await client.infer(address, by_terms(is_binary=is_binary), model_name="policy")
            assert answer.outputs[0].as_numpy().tolist() == ACTIONS
        status, said = await refusal(client, address, "policy", request(is_binary=True, name="obs"))
        assert (status, "missing 'position', 'velocity'; unknown 'obs'" in said) == (400, True), said
        status, said = await refusal(client, address, "other", request(is_binary=False))
        assert (status, "model: expected 'policy', found 'other'" in said) == (404, True), said


asyncio.run(ask(sys.argv[1]))
