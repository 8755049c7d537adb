"""Whatever a client decides has a bound, before its token is known; clients with the token keep their places."""

import contextlib
import json
import os
import signal
import socket
import threading
import time

import pytest
from infer_requests import EVERYWHERE, MODEL, TOKEN, request
from served import SCRIPT, running

pytestmark = pytest.mark.slow

GET = "GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"
POST = "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
LIVE = GET.format(path="/v2/health/live", more="").encode()
INFER = MODEL + "/infer"


def post(more, token=TOKEN):
    return POST.format(path=INFER, token=token, more=more).encode()


@pytest.fixture(scope="module")
def guarded(bundle, tmp_path_factory):
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(TOKEN)
    command = ("-m", "sacpipe.server", bundle, "--port", "0", "--host", EVERYWHERE, "--token-file", file)
    with running(*command) as found:
        yield found


@contextlib.contextmanager
def connected(server, source="127.0.0.1"):
    with socket.create_connection(
        ("127.0.0.1", server.port), timeout=30, source_address=(source, 0)
    ) as client:
        yield client


def answer(server, sent):
    """Send bytes, and return the status and the rest of what comes back until the server closes."""
    with connected(server) as client:
        with contextlib.suppress(OSError):
            client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as file:
            first = file.readline().split()
            return (int(first[1]) if first else None), file.read()


def memory_bytes(server):
    with open(f"/proc/{server.process.pid}/status") as file:  # noqa: PTH123
        return 1024 * int(next(line for line in file if line.startswith("VmRSS")).split()[1])


class TestOneRequest:
    @pytest.mark.parametrize(
        ("sent", "status", "text"),
        [
            (
                GET.format(path="/v2/health/live", more="Host: other\r\n"),
                400,
                "host: expected this header once",
            ),
            (
                post("Authorization: Bearer other\r\n").decode(),
                400,
                "authorization: expected this header once",
            ),
            (post("Content-Length: 2\r\nContent-Length: 2\r\n").decode() + "{}", 400, "HTTP"),
            (post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n").decode() + "0\r\n\r\n", 400, "HTTP"),
            ("GET /v2 HTTP/1.1\r\n\r\n", 400, "Host: expected this header, found none"),
            ("GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "HTTP: Invalid char"),
            ("GET /%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "path: expected an address in ASCII"),
            (
                post("Transfer-Encoding: chunked\r\n").decode() + "2\r\n{}\r\n0\r\nX: y\r\n\r\n",
                400,
                "trailers",
            ),
            (GET.format(path="/v2/health/live", more="Content-Length: 1025\r\n"), 413, "at most 1024 bytes"),
            (post("Content-Length: 9\r\n", "wrong").decode(), 401, "Authorization"),
        ],
    )
    def test_what_can_be_understood_in_two_ways_is_refused(self, guarded, sent, status, text):
        found, body = answer(guarded, sent.encode("latin-1"))
        assert (found, text.encode() in body) == (status, True), body

    @pytest.mark.parametrize(
        ("scheme", "status"), [("Bearer", 200), ("bearer", 200), ("BEARER", 200), ("Basic", 401), ("", 401)]
    )
    def test_the_name_of_the_scheme_has_no_case(self, guarded, scheme, status):
        assert guarded.get("/v2", Authorization=f"{scheme} {TOKEN}")[0] == status

    @pytest.mark.parametrize("coding", ["identity", "Identity", "IDENTITY"])
    def test_nor_has_the_name_of_the_coding(self, guarded, coding):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Encoding": coding}
        assert guarded.infer(request(), **headers)[0] == 200

    @pytest.mark.parametrize("host", ["LOCALHOST", "LocalHost:80"])
    def test_nor_has_the_name_of_a_host(self, server, host):
        assert server.get("/v2", Host=host)[0] == 200

    def test_the_body_may_wait_for_the_servers_consent(self, guarded):
        body = json.dumps(request()).encode()
        with connected(guarded) as client, client.makefile("rb") as file:
            client.sendall(
                post(f"Expect: 100-continue\r\nContent-Length: {len(body)}\r\nConnection: close\r\n")
            )
            assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert file.readline() == b"\r\n"
            client.sendall(body)
            assert file.readline() == b"HTTP/1.1 200 OK\r\n"

    def test_the_body_of_one_without_the_token_is_not_waited_for(self, guarded):
        with connected(guarded) as client, client.makefile("rb") as file:
            client.sendall(post(f"Expect: 100-continue\r\nContent-Length: {2**22}\r\n", "guess"))
            assert file.readline() == b"HTTP/1.1 401 Unauthorized\r\n"

    def test_head_is_get_without_the_body(self, server):
        status, headers, body = server.ask("HEAD", "/v2/health/live")
        assert (status, headers["content-length"], body) == (200, "13", b"")


class TestManyRequests:
    def test_pipelined_ones_are_answered_in_order(self, guarded):
        body = json.dumps({"id": "1"} | request()).encode()
        sent = post(f"Content-Length: {len(body)}\r\n") + body + LIVE + GET.format(path="/", more="").encode()
        with connected(guarded) as client, client.makefile("rb") as file:
            client.sendall(sent)
            client.shutdown(socket.SHUT_WR)
            found = file.read()
        statuses = [found.index(part) for part in (b'"id":"1"', b'{"live":true}', b"<!doctype html>")]
        assert statuses == sorted(statuses)

    def test_answers_that_are_never_read_cost_a_constant_amount_of_memory(self, server):
        before = memory_bytes(server)
        page = GET.format(path="/", more="").encode()
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                client = stack.enter_context(connected(server))
                client.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    for _ in range(400):
                        client.sendall(page * 100)
            assert server.get("/v2/health/live")[0] == 200
            assert memory_bytes(server) - before < 30e6

    def test_endless_tiny_chunks_and_trailers_end(self, guarded):
        for endless in (b"1\r\n{\r\n", b"0\r\n" + b"X: y\r\n" * 3):
            with connected(guarded) as client:
                client.sendall(post("Transfer-Encoding: chunked\r\n"))
                sent = 0
                with contextlib.suppress(OSError):
                    while sent < 2**27:
                        sent += client.send(endless * 1000)
            assert sent < 2**26

    def test_a_large_batch_holds_no_other_client(self, server):
        """While 256 observations are computed, others are answered between the slices."""
        batch = json.dumps(request([0.5, 0.25, 0.0] * 256, 256)).encode()
        done = threading.Event()

        def load():
            while not done.is_set():
                assert server.infer(batch)[0] == 200

        thread = threading.Thread(target=load)
        thread.start()
        try:
            connection, worst_s = server.connect(), 0.0
            for _ in range(50):
                begin = time.perf_counter()
                connection.request("GET", "/v2/health/live")
                assert connection.getresponse().read() == b'{"live":true}'
                worst_s = max(worst_s, time.perf_counter() - begin)
            connection.close()
        finally:
            done.set()
            thread.join()
        assert worst_s < 1.0


class TestPlaces:
    def test_idle_connections_lock_no_trusted_client_out(self, guarded):
        with contextlib.ExitStack() as stack:
            for host in range(2, 10):
                for _ in range(32):
                    with contextlib.suppress(OSError):
                        stack.enter_context(connected(guarded, f"127.0.0.{host}"))
            assert guarded.infer(request(), Authorization=f"Bearer {TOKEN}")[0] == 200
            assert guarded.get("/v2/health/live")[0] == 200

    def test_half_requests_lock_no_client_out_either(self, guarded):
        with contextlib.ExitStack() as stack:
            for host in range(2, 10):
                for _ in range(32):
                    with contextlib.suppress(OSError):
                        client = stack.enter_context(connected(guarded, f"127.0.0.{host}"))
                        client.sendall(b"POST /v2/mod")
            assert guarded.infer(request(), Authorization=f"Bearer {TOKEN}")[0] == 200
            assert guarded.get("/v2/health/live")[0] == 200

    def test_an_address_without_the_token_has_a_rate(self, bundle, tmp_path):
        file = tmp_path / "token"
        file.write_text(TOKEN)
        command = ("-m", "sacpipe.server", bundle, "--port", "0", "--host", EVERYWHERE, "--token-file", file)
        with running(*command) as server:
            statuses = []
            for _ in range(5):
                with contextlib.suppress(OSError), connected(server, "127.0.0.9") as client:
                    client.sendall(LIVE * 8)
                    client.shutdown(socket.SHUT_WR)
                    statuses += [client.makefile("rb").read().count(b"HTTP/1.1 200")]
            with connected(server, "127.0.0.9") as client, client.makefile("rb") as file:
                found = 200
                for _ in range(2000):
                    client.sendall(LIVE)
                    found = int(file.readline().split()[1])
                    if found != 200:
                        break
                    while (line := file.readline()) != b"\r\n":
                        assert line
                    file.read(13)
            assert statuses == [8] * 5
            assert found == 429
            assert server.get("/v2/health/live")[0] == 200  # from another address
            for _ in range(500):
                assert server.get("/v2", Authorization=f"Bearer {TOKEN}")[0] == 200


class TestTime:
    def test_an_observation_is_as_old_as_the_first_byte_of_its_request(self, server):
        body = json.dumps(request(sequence_id="slow", sequence_start=True)).encode()
        with connected(server) as client, client.makefile("rb") as file:
            client.sendall(
                f"POST {INFER} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            )
            time.sleep(0.1)  # the bundle's observations are old after 0.04 s
            client.sendall(body)
            assert file.readline().split()[1] == b"200"
            while (line := file.readline()) != b"\r\n":
                length = int(line.split(b":")[1]) if line.lower().startswith(b"content-length") else 0
                size = length or locals().get("size", 0)
            found = json.loads(file.read(size))["parameters"]
        assert (found["verdict"], found["reasons"]) == ("fallback", "observation_old")
        assert found["observation_age_ns"] >= 100e6

    def test_sigterm_with_a_stalled_request_ends_within_what_containers_allow(self, bundle):
        with running("-m", "sacpipe.server", bundle, "--port", "0") as server, connected(server) as stalled:
            stalled.sendall(
                b"POST /v2/models/policy/infer HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n["
            )
            assert server.get("/v2/health/live")[0] == 200
            begin = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
            assert time.monotonic() - begin < 8.0

    def test_a_terminal_that_closes_does_not_end_it(self, bundle):
        with running("-m", "sacpipe.server", bundle, "--port", "0") as server:
            server.process.send_signal(signal.SIGHUP)
            assert server.get("/v2/health/live")[0] == 200

    def test_an_unwritable_stderr_does_not_end_it(self, bundle):
        with running(SCRIPT, "{}", bundle) as server:
            server.process.stderr.close()
            for _ in range(3):
                with contextlib.suppress(OSError), connected(server) as client:
                    client.sendall(b"no request\r\n\r\n")
                assert server.get("/v2/health/live")[0] == 200


class TestAddresses:
    def test_localhost_is_both_families(self, bundle):
        with running("-m", "sacpipe.server", bundle, "--port", "0", "--host", "localhost") as server:
            hosts = ["127.0.0.1"]
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as probe:
                probe.bind(("::1", 0))
                hosts.append("::1")
            for host in hosts:
                with socket.create_connection((host, server.port), timeout=30) as client:
                    client.sendall(LIVE.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
                    assert client.makefile("rb").read().endswith(b'{"live":true}')

    def test_the_health_check_finds_the_port_of_the_process(self, server):
        from sacpipe.server.health import is_alive, port_of

        assert port_of(b"python\0-m\0sacpipe.server\0/bundle\0--port\x006001\0") == 6001
        assert port_of(b"python\0-m\0sacpipe.server\0/bundle\0--port=6002\0--host\x000.0.0.0\0") == 6002
        assert port_of(b"python\0-m\0sacpipe.server\0/bundle\0") == 5001
        assert port_of(b"python\0--port\0many\0") == 5001
        assert is_alive(server.port)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        assert not is_alive(port)
        assert os.path.exists(f"/proc/{server.process.pid}/cmdline")  # noqa: PTH110
