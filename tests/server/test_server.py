"""A real server process on loopback, spoken to as robots, tools and strangers would."""

import json
import socket
import struct
import time

import pytest
from infer_requests import MODEL, by_terms, raw, request, tensor, term
from served import running

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.files import sha256_file

pytestmark = pytest.mark.slow


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
            "inputs": [
                {"name": "position", "datatype": "FP32", "shape": [-1, 2]},
                {"name": "velocity", "datatype": "FP32", "shape": [-1, 1]},
            ],
            "outputs": [{"name": "action", "datatype": "FP32", "shape": [-1, 2]}],
            "properties": {
                "task": "example/Reach-v0",
                "algorithm": "sac",
                "bundle_sha256": digest,
                "contract_sha256": sha256_file(bundle / "contract.json"),
                "onnx_sha256": sha256_file(bundle / "policy.onnx"),
                "control_hz": "50",
                "observation_terms": "position[2],velocity[1]",
                "flat_input": "observation[3]",
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

    def test_terms_by_name(self, server):
        status, answer = server.infer(by_terms())
        assert (status, answer["outputs"][0]["data"]) == (200, [1.25, 2.5])

    def test_terms_in_bytes_and_numbers(self, server):
        position = term("position", parameters={"binary_data_size": 16}, shape=[2, 2])
        del position["data"]
        velocity = term("velocity", 0.0, 0.0, shape=[2, 1])
        header = json.dumps({"inputs": [velocity, position]}).encode()
        body = header + raw(0.5, 0.25, 3.0, 1.0)
        status, answer = server.infer(body, **{"Inference-Header-Content-Length": str(len(header))})
        assert (status, answer["outputs"][0]["data"]) == (200, [1.25, 2.5, 3.0, 4.0])

    def test_a_missing_and_an_unknown_term_are_named(self, server):
        status, answer = server.infer({"inputs": [term("velocity", 0.0), term("speed", 1.0)]})
        assert (status, answer["error"]) == (
            400,
            "inputs: expected 'position', 'velocity', each once, or 'observation' alone; missing 'position'; "
            "unknown 'speed'",
        )

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

    def test_a_sequence_of_terms_with_a_stamp_each(self, server):
        def reasons(stamp_ns, **parameters):
            body = by_terms(sequence_id="terms", **parameters)
            body["inputs"][0]["parameters"] = {"stamp_ns": stamp_ns}
            return server.infer(body)[1]["parameters"]["reasons"]

        now_ns = time.monotonic_ns()
        assert reasons(now_ns, sequence_start=True) == ""
        assert reasons(now_ns - 10**12) == "observation_out_of_order"
        assert reasons(now_ns + 10**12) == "observation_from_future"

    def test_a_stop_names_its_category(self, server):
        server.infer(request(sequence_id="category", sequence_start=True))
        old = [server.infer(request(sequence_id="category", observation_stamp_ns=1))[1] for _ in range(4)]
        assert [answer["parameters"].get("stop_category") for answer in old] == [None, None, None, 1]

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
        old = [verdict(observation_stamp_ns=1) for _ in range(4)]
        assert old == ["fallback"] * 3 + ["stopped"]
        assert verdict(sequence_start=True) == "stopped"
        assert verdict(sequence_end=True) == "stopped"
        assert verdict(sequence_start=True, sequence_end=True) == "ok"

    def test_one_more_than_there_is_room_for_is_refused_while_the_others_are_in_use(self, bundle):
        with running("-m", "sacpipe.server", bundle, "--port", "0", "--max-sequences", "3") as server:
            starts = [server.infer(request(sequence_id=key, sequence_start=True)) for key in range(1, 5)]
            assert [status for status, _ in starts] == [200, 200, 200, 503]
            assert "raise --max-sequences" in starts[-1][1]["error"]
            assert [server.infer(request(sequence_id=key))[0] for key in range(1, 4)] == [200, 200, 200]
            assert server.infer(request(sequence_id=1, sequence_end=True))[0] == 200
            assert server.infer(request(sequence_id=4, sequence_start=True))[0] == 200


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
        place = ("position[0]", "position[1]", "velocity[0]")[index]
        assert answer["error"].startswith(f"observation_not_finite: row 0: observation {place} (")

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

    def test_a_page_of_another_origin(self, server):
        assert server.get("/v2", Origin="http://evil.example")[0] == 403
        assert server.get("/v2", Origin=f"http://{server.address}")[0] == 200

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            (b"hello\r\n\r\n", b"400"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 300_000, b"431"),
            (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"a:\r\n" * 102, b"431"),
        ],
    )
    def test_what_is_no_request(self, server, sent, status):
        with socket.create_connection((server.host, server.port), timeout=30) as stranger:
            stranger.sendall(sent[:20_000])
            with stranger.makefile("rb") as answer:
                assert answer.readline().split()[1] == status
                assert b'{"error":' in answer.read()
