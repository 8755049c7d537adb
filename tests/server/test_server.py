"""A real server process on loopback, spoken to as robots, tools and strangers would."""

import json
import signal
import socket
import struct
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from repository import ROOT
from served import running
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.files import sha256_file

SCRIPT = ROOT / "tests" / "served.py"
MODEL = "/v2/models/policy"
EVERYWHERE = "0.0.0.0"  # noqa: S104
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105


def tensor(data, batch=1):
    return {"name": "observation", "shape": [batch, 3], "datatype": "FP32", "data": data}


def request(data=(0.5, 0.25, 0.0), batch=1, **parameters):
    return {"inputs": [tensor(list(data), batch)], "parameters": parameters}


def raw(*values):
    return struct.pack(f"<{len(values)}f", *values)


@pytest.fixture(scope="module")
def bundle(bundles):
    return bundles[0]


@pytest.fixture(scope="module")
def server(bundle):
    with running("-m", "sacpipe.server", bundle, "--port", "0") as found:
        yield found


@pytest.fixture(scope="module")
def guarded(bundle, tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN + "\n")
    with running(
        "-m", "sacpipe.server", bundle, "--port", "0", "--host", EVERYWHERE, "--token-file", file
    ) as found:
        yield found


@pytest.fixture(scope="module")
def hasty(bundle):
    with running(SCRIPT, json.dumps({"request_s": 0.6, "idle_s": 1, "connections": 4}), bundle) as found:
        yield found


class TestProtocol:
    def test_health(self, server):
        assert server.get("/v2/health/live") == (200, {"live": True})
        assert server.get("/v2/health/ready") == (200, {"ready": True, "live": True})
        assert server.get(MODEL + "/ready") == (200, {"name": "policy", "ready": True})

    @pytest.mark.parametrize("path", ["/v2", "/v2/"])
    def test_server_metadata(self, server, path):
        status, found = server.get(path)
        assert (status, found["name"]) == (200, "sacpipe")
        assert "binary_tensor_data" in found["extensions"]

    def test_model_metadata(self, server, bundle):
        digest = bundle_digest(bundle)
        status, found = server.get(MODEL)
        assert status == 200
        assert found == {
            "name": "policy",
            "versions": [digest[:12]],
            "platform": "onnx_onnxv1",
            "inputs": [{"name": "observation", "datatype": "FP32", "shape": [-1, 3]}],
            "outputs": [{"name": "action", "datatype": "FP32", "shape": [-1, 2]}],
            "properties": {
                "task": "example/Reach-v0",
                "policy_kind": "sac-deterministic",
                "bundle_sha256": digest,
                "contract_sha256": sha256_file(bundle / "contract.json"),
                "onnx_sha256": sha256_file(bundle / "policy.onnx"),
                "control_hz": "50",
                "observation_terms": "position[2],velocity[1]",
                "action_names": "shoulder,elbow",
            },
        }

    @pytest.mark.parametrize("length", [12, 64])
    def test_versions(self, server, bundle, length):
        version = f"{MODEL}/versions/{bundle_digest(bundle)[:length]}"
        assert server.get(version)[1]["name"] == "policy"
        assert server.get(version + "/ready")[0] == 200
        assert server.infer(request(), version + "/infer")[1]["outputs"][0]["data"] == [1.25, 2.5]

    def test_json(self, server, bundle):
        status, answer = server.infer({"id": "42", **request([0.5, 0.25, 0.0, 3.0, 1.0, 0.0], 2)})
        assert (status, answer["id"], answer["model_version"]) == (200, "42", bundle_digest(bundle)[:12])
        assert answer["outputs"] == [
            {"name": "action", "datatype": "FP32", "shape": [2, 2], "data": [1.25, 2.5, 3.0, 4.0]}
        ]
        parameters = answer["parameters"]
        assert (parameters["verdict"], parameters["reasons"]) == ("ok", "")
        assert parameters["bundle_sha256"] == bundle_digest(bundle)
        assert parameters["contract_sha256"] == sha256_file(bundle / "contract.json")
        assert parameters["policy_ns"] > 0

    def test_no_id_comes_back_where_none_was_given(self, server):
        assert "id" not in server.infer(request())[1]

    def test_binary(self, server):
        header = json.dumps(
            {
                "inputs": [tensor(None) | {"parameters": {"binary_data_size": 12}}],
                "parameters": {"binary_data_output": True},
            }
        )
        header = header.replace('"data": null, ', "").encode()
        status, headers, body = server.ask(
            "POST",
            MODEL + "/infer",
            header + raw(0.5, 0.25, 0.0),
            {"inference-HEADER-content-length": str(len(header))},
        )
        assert (status, headers["content-type"]) == (200, "application/octet-stream")
        length = int(headers["Inference-Header-Content-Length"])
        assert json.loads(body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
        assert struct.unpack("<2f", body[length:]) == (1.25, 2.5)

    def test_raw(self, server):
        headers = {"Inference-Header-Content-Length": "0"}
        status, answered, body = server.ask("POST", MODEL + "/infer", raw(0.5, 0.25, 0.0), headers)
        assert status == 200
        assert struct.unpack("<2f", body[int(answered["Inference-Header-Content-Length"]) :]) == (1.25, 2.5)

    def test_statistics_and_metrics_count(self, server):
        server.infer(request())
        (found,) = server.get(MODEL + "/stats")[1]["model_stats"]
        assert server.get("/v2/models/stats")[1]["model_stats"][0]["name"] == found["name"] == "policy"
        assert found["inference_count"] >= found["execution_count"] >= 1
        assert (
            found["inference_stats"]["success"]["ns"] >= found["inference_stats"]["compute_infer"]["ns"] > 0
        )
        _, headers, body = server.ask("GET", "/metrics")
        assert headers["content-type"].startswith("text/plain; version=0.0.4")
        lines = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if line[0] != "#")
        assert int(lines['sacpipe_verdicts_total{verdict="ok"}']) >= 1
        assert int(lines['sacpipe_infer_seconds_bucket{le="+Inf"}']) == int(
            lines["sacpipe_infer_seconds_count"]
        )
        assert any(name.startswith("sacpipe_policy_info{") and "bundle_sha256=" in name for name in lines)

    def test_the_page_allows_its_own_script_alone(self, server):
        status, headers, body = server.ask("GET", "/")
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert b"http://" not in body
        assert b"https://" not in body
        assert b"style=" not in body
        status, found = server.get("/status.json")
        assert (found["task"], len(found["latency"]["counts"])) == (
            "example/Reach-v0",
            len(found["latency"]["bounds_us"]) + 1,
        )


class TestSequences:
    def test_a_sequence_has_its_own_guards(self, server):
        def step(*values, **parameters):
            body = raw(*values)
            head = tensor(None) | {"parameters": {"binary_data_size": 12}}
            del head["data"]
            header = json.dumps(
                {"inputs": [head], "parameters": {"sequence_id": "own"} | parameters}
            ).encode()
            status, answer = server.infer(
                header + body, **{"Inference-Header-Content-Length": str(len(header))}
            )
            assert status == 200, answer
            return (
                answer["parameters"]["verdict"],
                answer["parameters"]["reasons"],
                answer["outputs"][0]["data"],
            )

        assert step(0.5, 0.25, 0.0, sequence_start=True) == ("ok", "", [1.25, 2.5])
        nan = ("fallback", "observation_not_finite", [1.25, 2.5])
        assert step(0.5, float("nan"), 0.0) == nan
        assert step(0.5, 0.25, 0.0, observation_stamp_ns=1)[1] == "observation_out_of_order"
        assert step(99.0, 0.0, 0.0, sequence_start=True)[1] == "start_outside_envelope"
        assert step(0.0, 0.0, 0.0, sequence_end=True)[0] == "ok"

    def test_a_sequence_is_over_after_its_end(self, server):
        end = request(sequence_id=9, sequence_end=True)
        assert server.infer(request(sequence_id=9, sequence_start=True))[0] == 200
        assert server.infer(end)[0] == 200
        status, answer = server.infer(end)
        assert status == 400
        assert "expected an open sequence or `sequence_start`, found 9" in answer["error"]

    def test_a_stop_holds_until_the_sequence_ends(self, server):
        def verdict(**parameters):
            answer = server.infer(request(sequence_id="stopped", **parameters))[1]
            return answer["parameters"]["verdict"]

        assert verdict(sequence_start=True) == "ok"
        old = [verdict(observation_stamp_ns=1) for _ in range(6)]
        assert old == ["fallback"] * 5 + ["stopped"]
        assert verdict(sequence_start=True) == "stopped"
        assert verdict(sequence_end=True) == "stopped"
        assert verdict(sequence_start=True, sequence_end=True) == "ok"

    def test_the_idlest_is_dropped_to_make_room(self, server):
        for key in range(1000, 1065):  # one more than there is room for
            assert server.infer(request(sequence_id=key, sequence_start=True))[0] == 200
        assert server.infer(request(sequence_id=1000))[0] == 400
        assert server.infer(request(sequence_id=1064))[0] == 200
        assert server.get("/status.json")[1]["sequences"] == 64


class TestRefusals:
    @pytest.mark.parametrize(
        ("method", "path", "status", "said"),
        [
            ("GET", "/nothing", 404, "/openapi.json lists"),
            ("GET", "/v2/models/other", 404, "expected 'policy', found 'other'"),
            ("GET", MODEL + "/", 404, "path"),
            ("GET", MODEL + "/load", 404, "found 'load'"),
            ("GET", MODEL + "/versions/", 404, "path"),
            ("GET", MODEL + "/versions/1", 404, "the one in service, found '1'"),
            ("POST", MODEL + "/versions/1/infer", 404, "the one in service, found '1'"),
            ("GET", MODEL + "/infer", 405, "expected POST, found GET"),
            ("POST", MODEL, 405, "expected GET, HEAD, found POST"),
            ("DELETE", "/v2/health/live", 405, "found DELETE"),
            ("POST", MODEL + "/infer", 400, "truncated"),
        ],
    )
    def test_paths_and_methods(self, server, method, path, status, said):
        found, headers, body = server.ask(method, path)
        assert (found, list(json.loads(body))) == (status, ["error"])
        assert said in json.loads(body)["error"]
        assert ("allow" in headers) == (status == 405)

    @pytest.mark.parametrize("index", range(3))
    @pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
    def test_an_observation_that_is_not_finite(self, server, index, value):
        values = [0.0] * 3
        values[index] = value
        status, answer = server.infer(raw(*values), **{"Inference-Header-Content-Length": "0"})
        assert status == 400
        assert answer["error"].startswith("observation_not_finite: row 0: observation entry " + str(index))

    def test_a_request_that_comes_too_late(self, server):
        status, answer = server.infer(request(timeout=1))
        assert status == 503
        assert "expected to start within 1 us" in answer["error"]
        assert server.infer(request(timeout=60_000_000))[0] == 200

    @pytest.mark.parametrize("coding", ["gzip", "deflate", "br"])
    def test_a_compressed_body(self, server, coding):
        status, answer = server.infer(request(), **{"Content-Encoding": coding})
        assert status == 415
        assert coding in answer["error"]

    def test_a_body_too_long(self, server):
        status, answer = server.infer(b" " * (2**22 + 1))
        assert status == 413
        assert "expected at most 4194304 bytes, found 4194305" in answer["error"]

    def test_a_body_too_long_that_was_only_announced(self, server):
        status, _, body = server.ask("POST", MODEL + "/infer", None, {"Content-Length": str(2**40)})
        assert status == 413, body

    def test_a_body_without_a_length(self, server):
        status, _, body = server.ask("POST", MODEL + "/infer", iter([b"x" * 2**20] * 5))
        assert status == 413, body

    @pytest.mark.parametrize(
        "host", ["evil.example", "127.evil.example", "10.0.0.1", "[::2]:80", "localhost.x"]
    )
    def test_another_host_is_a_trick(self, server, host):
        assert server.get("/v2", Host=host)[0] == 403

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1:80", "[::1]:80", "127.8.8.8"])
    def test_any_name_of_this_machine_will_do(self, server, host):
        assert server.get("/v2", Host=host)[0] == 200

    def test_a_page_of_another_site(self, server):
        assert server.get("/v2", Origin="http://evil.example")[0] == 403
        assert server.get("/v2", Origin=f"http://{server.address}")[0] == 200

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"hello\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 300_000, b"431"),
        ],
    )
    def test_what_is_no_request(self, server, sent, status):
        with socket.create_connection((server.host, server.port), timeout=30) as stranger:
            stranger.sendall(sent[:20_000])
            with stranger.makefile("rb") as answer:
                assert answer.readline().split()[1] == status
                assert b'{"error":' in answer.read()


class TestTritonClient:
    @pytest.fixture
    def client(self, server):
        with triton.InferenceServerClient(server.address) as client:
            yield client

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


class TestToken:
    @pytest.mark.parametrize("given", [None, "", "Bearer ", f"Bearer {TOKEN}x", TOKEN, "Basic x", "Bearer é"])
    def test_without_the_token_nothing_is_said(self, guarded, given):
        headers = {} if given is None else {"Authorization": given}
        for path in (MODEL, "/metrics", "/status.json", "/openapi.json", "/nothing"):
            assert guarded.get(path, **headers)[0] == 401
        assert guarded.infer(request(), **headers)[0] == 401

    def test_with_it_everything(self, guarded):
        assert guarded.infer(request(), Authorization=f"Bearer {TOKEN}")[0] == 200
        assert guarded.get(MODEL, Authorization=f"Bearer {TOKEN}", Host="robot.example")[0] == 200

    def test_health_and_the_empty_page_are_open(self, guarded):
        assert guarded.get("/v2/health/ready")[0] == 200
        assert guarded.ask("GET", "/")[0] == 200

    @pytest.mark.parametrize(
        ("arguments", "env", "said"),
        [
            (["--host", EVERYWHERE], {}, "--insecure-no-token"),
            (["--host", "::"], {}, "expected a loopback address"),
            ([], {"SACPIPE_TOKEN": "short-and-secret"[:15]}, "at least 16"),
            ([], {"SACPIPE_TOKEN": "a token with spaces in it"}, "no spaces"),
            (["--token-file", "missing"], {}, "--token-file: missing cannot be read"),
            (["--name", "a/b"], {}, "--name: expected"),
            (["--port", "70000"], {}, "port: Input should be less than or equal to 65535, found 70000"),
            (["--host", "nowhere.invalid"], {}, "expected a loopback address"),
        ],
    )
    def test_what_cannot_be_served_is_said(self, bundle, arguments, env, said):
        result = subprocess.run(
            [sys.executable, "-m", "sacpipe.server", bundle, "--port", "0", *arguments],
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)} | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert said in result.stderr
        assert all(secret not in result.stderr for secret in env.values())

    def test_a_port_that_is_taken(self, server, bundle):
        result = subprocess.run(
            [sys.executable, "-m", "sacpipe.server", bundle, "--port", str(server.port)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 2
        assert f"expected an address to bind, found 127.0.0.1, port {server.port}" in result.stderr

    def test_a_token_of_the_environment(self, bundle):
        command = ("-m", "sacpipe.server", bundle, "--port", "0", "--host", EVERYWHERE)
        with running(*command, env={"SACPIPE_TOKEN": TOKEN}) as found:
            assert found.get(MODEL)[0] == 401
            assert found.get(MODEL, Authorization=f"Bearer {TOKEN}")[0] == 200

    def test_or_none_where_that_is_wanted(self, bundle):
        command = (
            "-m",
            "sacpipe.server",
            bundle,
            "--port",
            "0",
            "--host",
            EVERYWHERE,
            "--insecure-no-token",
        )
        with running(*command) as found:
            assert found.get(MODEL)[0] == 200


class TestSlowClients:
    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"", b""),
            (b"\r\n", b""),
            (b"POST /v2/mod", b"408"),
            (
                f"POST {MODEL}/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n[".encode(),
                b"408",
            ),
        ],
    )
    def test_one_that_does_not_go_on_is_left(self, hasty, sent, status):
        with socket.create_connection((hasty.host, hasty.port), timeout=30) as slow:
            slow.sendall(sent)
            answer = slow.makefile("rb").read()  # ends because the server closes
        assert answer[9:12] == status

    def test_an_idle_one_is_left_after_a_while(self, hasty):
        with socket.create_connection((hasty.host, hasty.port), timeout=30) as idle:
            idle.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert idle.makefile("rb").read().endswith(b'{"live":true}')

    def test_one_too_many_gets_a_refusal(self, hasty):
        open_ones = [socket.create_connection((hasty.host, hasty.port), timeout=30) for _ in range(5)]
        try:
            assert open_ones[-1].makefile("rb").read().startswith(b"HTTP/1.1 503 ")
        finally:
            for connection in open_ones:
                connection.close()


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
