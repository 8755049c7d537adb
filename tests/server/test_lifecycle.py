"""A server ends without losing a request, and changes its policy without losing one."""

import json
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from infer_requests import MODEL, request
from repository import ROOT
from served import SCRIPT, running

from sacpipe.bundle.files import bundle_digest

pytestmark = pytest.mark.slow


class TestEnd:
    def test_sigterm_finishes_what_was_begun(self, bundle):
        head = f"POST {MODEL}/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: {{}}\r\n\r\n"
        body = json.dumps(request()).encode()
        with (
            running(SCRIPT, '{"drain_s": 3.0}', bundle) as server,
            socket.create_connection((server.host, server.port), timeout=30) as begun,
        ):
            begun.sendall(head.format(len(body)).encode() + body[:10])
            assert server.get("/v2/health/ready")[0] == 200
            server.process.send_signal(signal.SIGTERM)
            for _ in range(1000):
                status, said = server.get("/v2/health/ready")
                if status == 503:
                    break
            assert (status, said) == (503, {"ready": False, "live": True})
            assert server.get(MODEL + "/ready")[0] == 503
            assert server.infer(request())[0] == 200
            begun.sendall(body[10:])
            assert begun.makefile("rb").readline().split()[1] == b"200"
            begun.close()
            assert server.process.wait(30) == 0
            assert server.process.stderr.read() == ""

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_a_second_signal_ends_it_now(self, bundle, number):
        with running(SCRIPT, '{"drain_s": 3600.0}', bundle) as server:
            server.process.send_signal(number)
            for _ in range(1000):
                if server.get("/v2/health/ready")[0] == 503:
                    break
            server.process.send_signal(number)
            assert server.process.wait(30) == 0


class TestSwaps:
    NUM_CLIENTS, NUM_REQUESTS = 8, 500

    def test_no_request_is_lost_and_every_answer_is_of_one_whole_policy(self, bundles):
        bundle, other = bundles
        signs = {bundle_digest(bundle): 1.0, bundle_digest(other): -1.0}
        with running(SCRIPT, "{}", bundle, other) as server, ThreadPoolExecutor(self.NUM_CLIENTS) as pool:

            def ask_often(client):
                generator = np.random.default_rng(client)
                connection, seen = server.connect(), []
                for _ in range(self.NUM_REQUESTS):
                    values = generator.uniform(-1.0, 1.0, 3).astype(np.float32)
                    headers = {"Inference-Header-Content-Length": "0"}
                    connection.request("POST", MODEL + "/infer", values.tobytes(), headers)
                    response = connection.getresponse()
                    body = response.read()
                    assert response.status == 200, body
                    length = int(response.headers["Inference-Header-Content-Length"])
                    found = json.loads(body[:length])
                    digest = found["parameters"]["bundle_sha256"]
                    assert found["model_version"] == digest[:12]
                    gain = signs[digest] * (float(values[0]) - float(values[1]) + 1.0)
                    expected = np.clip([gain, 2 * gain], [-2.0, -4.0], [3.0, 4.0])
                    np.testing.assert_allclose(np.frombuffer(body[length:], "<f4"), expected, atol=1e-5)
                    seen.append(digest)
                connection.close()
                return seen

            seen = [digest for found in pool.map(ask_often, range(self.NUM_CLIENTS)) for digest in found]
            swaps = server.get("/status.json")[1]["swaps"]
        assert len(seen) == self.NUM_CLIENTS * self.NUM_REQUESTS
        assert set(seen) == set(signs)
        assert swaps > 20


@pytest.mark.parametrize("module", ["sacpipe.server.__main__", "sacpipe.server.arguments"])
def test_the_robots_server_loads_nothing_of_training(module):
    heavy = ("torch", "mlflow", "pipelines", "dvc", "prefect", "gymnasium", "onnx", "starlette", "fastapi")
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
