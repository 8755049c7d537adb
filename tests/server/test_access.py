"""Who is answered: a client with the token, on a host of this machine, that does not keep the server waiting."""

import contextlib
import json
import socket
import subprocess
import sys

import pytest
from infer_requests import EVERYWHERE, MODEL, TOKEN, request
from repository import ROOT
from served import SCRIPT, running

pytestmark = pytest.mark.slow


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

    def test_one_connection_too_many_takes_the_place_of_the_one_idle_longest(self, hasty):
        with contextlib.ExitStack() as stack:
            idle, *others = (
                stack.enter_context(socket.create_connection((hasty.host, hasty.port), timeout=30))
                for _ in range(5)
            )
            assert idle.recv(1) == b""
            others[-1].sendall(
                b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            )
            assert others[-1].makefile("rb").read().endswith(b'{"live":true}')
