"""Triton's HTTP client against a real server."""

import numpy as np
import pytest
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from sacpipe.bundle.files import bundle_digest

pytestmark = pytest.mark.slow


class TestTritonClient:
    @pytest.fixture
    def client(self, server):
        with triton.InferenceServerClient(server.address) as client:
            yield client

    def terms(self, client, rows=((0.5, 0.25, 0.0),), *, is_binary=True):
        """One input for each that the metadata lists, as a client makes them that knows nothing else."""
        found, first = [], 0
        for tensor in client.get_model_metadata("policy")["inputs"]:
            size = tensor["shape"][1]
            array = np.array(rows, np.float32)[:, first : first + size]
            found.append(triton.InferInput(tensor["name"], array.shape, tensor["datatype"]))
            found[-1].set_data_from_numpy(array, binary_data=is_binary)
            first += size
        return found

    def inputs(self, rows=((0.5, 0.25, 0.0),), *, is_binary=True, name="observation"):
        array = np.array(rows, np.float32)
        found = triton.InferInput(name, array.shape, "FP32")
        found.set_data_from_numpy(array, binary_data=is_binary)
        return [found]

    def test_health_and_metadata(self, client, bundle):
        version = bundle_digest(bundle)[:12]
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("policy")
        assert client.is_model_ready("policy", version)
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["name"] == "sacpipe"
        assert client.get_model_metadata("policy", version)["platform"] == "onnx_onnxv1"
        assert client.get_inference_statistics("policy")["model_stats"][0]["version"] == version
        assert client.get_inference_statistics()["model_stats"][0]["version"] == version

    @pytest.mark.parametrize("is_binary", [False, True])
    @pytest.mark.parametrize("outputs", [None, False, True])
    def test_infer(self, client, is_binary, outputs):
        wanted = None if outputs is None else [triton.InferRequestedOutput("action", binary_data=outputs)]
        rows = [[0.5, 0.25, 0.0], [0.0, 9.0, 2.0]]
        result = client.infer(
            "policy", self.inputs(rows, is_binary=is_binary), outputs=wanted, request_id="9"
        )
        assert result.as_numpy("action").tolist() == [[1.25, 2.5], [-2.0, -4.0]]
        assert result.get_response()["id"] == "9"
        assert result.get_response()["parameters"]["verdict"] == "ok"

    @pytest.mark.parametrize("is_binary", [False, True])
    def test_infer_by_the_metadata_alone(self, client, is_binary):
        inputs = self.terms(client, [[0.5, 0.25, 0.0], [0.0, 9.0, 2.0]], is_binary=is_binary)
        assert client.infer("policy", inputs).as_numpy("action").tolist() == [[1.25, 2.5], [-2.0, -4.0]]

    def test_a_sequence(self, client):
        for start, end in [(True, False), (False, False), (False, True)]:
            given = {"sequence_id": 77, "sequence_start": start, "sequence_end": end}
            response = client.infer("policy", self.inputs(), **given).get_response()
            assert response["parameters"]["verdict"] == "ok"

    @pytest.mark.parametrize(
        ("arguments", "status", "said"),
        [
            ({"model_name": "other"}, "404", "expected 'policy'"),
            ({"model_name": "policy", "model_version": "1"}, "404", "version"),
            ({"model_name": "policy", "timeout": 1}, "503", "parameters.timeout"),
            ({"model_name": "policy", "request_compression_algorithm": "gzip"}, "415", "identity"),
        ],
    )
    def test_errors_are_readable(self, client, arguments, status, said):
        with pytest.raises(InferenceServerException, match=said) as caught:
            client.infer(inputs=self.inputs(), **arguments)
        assert caught.value.status() == status

    def test_wrong_tensors(self, client):
        for wrong in (self.inputs(name="obs"), self.inputs([[0.0, 1.0]]), self.inputs([[0.0, np.nan, 0.0]])):
            with pytest.raises(InferenceServerException) as caught:
                client.infer("policy", wrong)
            assert caught.value.status() == "400"
