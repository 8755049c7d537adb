"""Addresses, clocks and registries that a server may meet."""

import json
import socket
import struct
import time

import pytest
from attacked_server import serving
from hostile_peer import INFER, TOKEN
from surroundings import Registry, hosted, make_store, send_json, send_version, write_terms

from sacpipe.bundle.files import bundle_digest

pytestmark = pytest.mark.attack

MAX_LOOK_S = 60.0
"""Longest time until a registry that does not come to an end is given up."""


def _ipv6_works():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


LOOPBACK = ["127.0.0.1", *(["::1"] if _ipv6_works() else [])]
"""The addresses of this machine's loopback; not every machine has IPv6."""


@pytest.fixture
def log(tmp_path):
    return tmp_path / "stderr"


def test_localhost_is_all_of_its_addresses(log, bundles):
    with hosted(log, bundles[0], "--host", "localhost") as host:
        host.wait_for_service()
        assert [host.ask(host=address)[0] for address in LOOPBACK] == [200] * len(LOOPBACK)


@pytest.mark.parametrize("address", ["0.0.0.0", *(["::"] if _ipv6_works() else [])])  # noqa: S104 - with a token
def test_all_addresses_are_all_addresses(log, bundles, token_file, address):
    with hosted(log, bundles[0], "--host", address, "--token-file", token_file) as host:
        host.wait(lambda: host.ask(host="127.0.0.1")[0] == 200, "an answer over IPv4")
        if address == "::":
            host.wait(lambda: host.ask(host="::1")[0] == 200, "an answer over IPv6", 5.0)


def test_localhost_without_ipv6(log, bundles):
    """The resolver may give an address that the machine has not: one that works is enough."""
    with hosted(log, bundles[0], "--host", "localhost") as host:
        host.wait_for_service()


@pytest.mark.parametrize("host_header", ["LOCALHOST", "LocalHost:1", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine(log, bundles, host_header):
    with hosted(log, bundles[0]) as host, socket.socket() as client:
        host.wait_for_service()
        client.connect(("127.0.0.1", host.port))
        client.sendall(f"GET /v2 HTTP/1.1\r\nHost: {host_header}\r\n\r\n".encode())
        assert client.recv(4096)[9:12] == b"200"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_names_of_the_scheme(log, bundles, token_file, scheme):
    with serving(bundles[0], "--port", "0", "--token-file", token_file, log=log) as server:
        request = f"GET /v2 HTTP/1.1\r\nHost: robot\r\nAuthorization: {scheme} {TOKEN}\r\n\r\n"
        assert server.ask(request.encode())[0] == 200


@pytest.mark.parametrize("coding", ["identity", "Identity", "IDENTITY"])
def test_names_of_the_coding(log, bundles, coding):
    with hosted(log, bundles[0]) as host, socket.socket() as client:
        host.wait_for_service()
        client.connect(("127.0.0.1", host.port))
        head = f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: {coding}\r\n"
        head += "Inference-Header-Content-Length: 0\r\nContent-Length: 12\r\n\r\n"
        client.sendall(head.encode() + struct.pack("<3f", 0.5, 0.25, 0.0))
        assert client.recv(4096)[9:12] == b"200"


def step(parameters):
    tensor = {"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}
    return {"inputs": [tensor], "parameters": {"sequence_id": 5, "sequence_start": True} | parameters}


@pytest.mark.parametrize(
    ("stamp_ns", "cause"),
    [
        (time.time_ns, "observation_from_future"),
        (lambda: 0, "observation_old"),
        (lambda: time.monotonic_ns() + 10**10, "observation_from_future"),
        (lambda: 2**63 - 1, "observation_from_future"),
    ],
    ids=["of the wall clock", "of the start of the machine", "of a clock that jumped", "at the end of time"],
)
def test_stamps(log, bundles, stamp_ns, cause):
    with hosted(log, bundles[0]) as host:
        host.wait_for_service()
        status, answer = host.ask(INFER, body=step({"observation_stamp_ns": stamp_ns()}))
        assert (status, answer["parameters"]["reasons"]) == (200, cause)
        assert host.ask(INFER, body=step({}))[1]["parameters"]["reasons"] == ""


def test_an_observation_that_was_long_in_transit(log, bundles):
    """Its age counts from the first byte: a second is 50 control periods."""
    body = json.dumps(step({})).encode()
    with hosted(log, bundles[0]) as host, socket.socket() as client:
        host.wait_for_service()
        client.connect(("127.0.0.1", host.port))
        client.sendall(
            f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        )
        time.sleep(1.0)
        client.sendall(body)
        client.settimeout(10.0)
        assert b'"reasons":"observation_old"' in client.recv(65_536)


def _drip(handler):
    """A good head, then a byte now and then: no read ever takes long."""
    handler.send_response(200)
    handler.send_header("Content-Length", "5000")
    handler.end_headers()
    for _ in range(5000):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.5)


def _drip_headers(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for index in range(1000):
        handler.wfile.write(b"X-%d: x\r\n" % index)
        handler.wfile.flush()
        time.sleep(0.5)


def _endless(handler):
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65_536)


def _redirect(handler):
    handler.send_response(302)
    handler.send_header("Location", "/stolen")
    handler.end_headers()


def _no_json(handler):
    handler.send_response(200)
    handler.end_headers()
    handler.wfile.write(b"<html>" * 100)


def _controlling(handler):
    send_json(handler, {"message": "\x1b[2J\nsacpipe: all is well" * 100}, 400)


def _lie(handler):
    """Names a digest and lists files that have another."""
    if "alias" in handler.path:
        send_version(handler, "ab" * 32)
    elif "path=" in handler.path:
        names = ("contract.json", "golden.npz", "manifest.json", "policy.onnx")
        send_json(handler, {"files": [{"path": name, "file_size": 2} for name in names]})
    else:
        send_json(handler, {})


def _names_outside(handler):
    if "alias" in handler.path:
        send_version(handler, "ab" * 32)
    else:
        send_json(handler, {"files": [{"path": "../../etc/passwd", "file_size": 2}]})


def _no_digest(handler):
    send_version(handler, "../../etc")


def _close(handler):
    handler.close_connection = True


@pytest.mark.parametrize(
    ("answer", "events"),
    [
        pytest.param(_drip, {"unreachable", "failed"}, marks=pytest.mark.slow),
        pytest.param(_drip_headers, {"unreachable", "failed"}, marks=pytest.mark.slow),
        (_endless, {"unreachable", "failed", "refused"}),
        (_redirect, {"unreachable", "failed"}),
        (_no_json, {"unreachable", "failed"}),
        (_controlling, {"failed"}),
        (_lie, {"refused"}),
        (_names_outside, {"refused"}),
        (_no_digest, {"refused"}),
        (_close, {"unreachable"}),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_a_registry_that(log, bundles, tmp_path, answer, events):
    store, terms = make_store(tmp_path / "store", bundles[0]), write_terms(tmp_path / "terms")
    with Registry(answer) as registry:
        environment = {"MLFLOW_TRACKING_URI": registry.uri}
        arguments = ("models:/Reach@champion", "--follow", "--store", store, "--terms", terms)
        with hosted(log, *arguments, more_environment=environment) as host:
            host.wait_for_service()
            counts = lambda: set(host.status()["follower"]["counts"])  # noqa: E731
            host.wait(lambda: bool(events & counts()), f"one of {sorted(events)}", MAX_LOOK_S)
            host.wait_for_service()
            assert host.status()["bundle_sha256"] == bundle_digest(bundles[0])
            assert all(line.isprintable() for line in host.log().splitlines())
        assert "/stolen" not in registry.paths
