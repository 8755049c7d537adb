"""Hostile servers on loopback: every look at a registry ends in time, whatever the server does with it."""

import contextlib
import itertools
import socket
import ssl
import threading
import time

import pytest

from sacpipe.core.errors import SacpipeError, StoreUnavailableError
from sacpipe.rollout import http_fetch
from sacpipe.rollout.http_fetch import Fetcher, Look
from sacpipe.rollout.registries import parse_address
from sacpipe.tracking.mlflow.rest_source import MlflowSource

OK = b"HTTP/1.1 200 OK\r\n"


class Server:
    """A server whose every connection is in the hands of one function: (connection, is_over) -> None."""

    def __init__(self, behave):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.is_over = threading.Event()
        self.connections = 0
        self.threads = []
        self.accepting = threading.Thread(target=self._accept, args=(behave,), daemon=True)
        self.accepting.start()

    def _accept(self, behave):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(connection, behave), daemon=True)
                self.threads.append(thread)
                thread.start()

    def _serve(self, connection, behave):
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            behave(connection, self.is_over)

    def close(self):
        self.is_over.set()
        with contextlib.suppress(OSError):  # closed before
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(2.0)


@pytest.fixture
def serve():
    servers = []

    def start(behave):
        servers.append(Server(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _short_limits(monkeypatch):
    for name, value in (
        ("LOOK_S", 0.6),
        ("_START_S", 0.3),
        ("_READ_TIMEOUT_S", 0.4),
        ("_GRACE_S", 0.2),
    ):
        monkeypatch.setattr(http_fetch, name, value)


def drip(prefix, piece, pause_s=0.01):
    """Send a beginning at once, then a piece again and again."""

    def behave(connection, is_over):
        connection.sendall(prefix)
        while not is_over.wait(pause_s):
            connection.sendall(piece)

    return behave


def flood(prefix, piece):
    """Send a beginning, then a piece as fast as it is read."""

    def behave(connection, is_over):
        connection.sendall(prefix)
        while not is_over.is_set():
            connection.sendall(piece)

    return behave


def silent(connection, is_over):
    is_over.wait(10.0)


def pieces(*parts):
    def behave(connection, is_over):
        for part in parts:
            connection.sendall(part)
            is_over.wait(0.01)

    return behave


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HOSTILE = {
    "says nothing": silent,
    "drips the status line": drip(b"", b"H"),
    "drips one header": drip(OK + b"X: ", b"a"),
    "drips headers": drip(OK, b"X: a\r\n"),
    "goes on with 100 Continue": drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "floods 100 Continue": flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100),
    "drips a body of a given length": drip(OK + b"Content-Length: 1000000\r\n\r\n", b" "),
    "drips a body without a length": drip(OK + b"\r\n", b" "),
    "drips chunks of one byte": drip(CHUNKED, b"1\r\n \r\n"),
    "drips the size of a chunk": drip(CHUNKED, b"0"),
    "drips the extension of a chunk": drip(CHUNKED + b"1;", b"x"),
    "floods trailers": flood(CHUNKED + b"0\r\n", b"X: a\r\n" * 100),
    "drips trailers": drip(CHUNKED + b"0\r\n", b"X: a\r\n"),
    "stops within the body": pieces(OK + b"Content-Length: 9\r\n\r\n{}"),
    "stops within a chunk": pieces(CHUNKED + b"9\r\n{}"),
    "gives a chunk a negative size": pieces(CHUNKED + b"-9\r\n{}"),
    "gives a chunk a huge size": pieces(CHUNKED + b"f" * 300 + b"\r\n{}"),
    "gives a negative length": pieces(OK + b"Content-Length: -1\r\n\r\n", b"{"),
    "gives a length that is no number": pieces(OK + b"Content-Length: 1_0\r\n\r\n{}"),
    "floods a body": flood(OK + b"\r\n", b" " * 65536),
    "floods headers": flood(OK, b"X: a\r\n" * 1000),
    "floods one header": flood(OK + b"X: ", b"a" * 65536),
    "closes at once": lambda connection, _: connection.shutdown(socket.SHUT_RDWR),
    "speaks another protocol": pieces(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "drips a refusal": drip(b"HTTP/1.1 403 Forbidden\r\n\r\n", b" "),
    "redirects to itself": pieces(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"),
    "answers with a NUL": pieces(b"HTTP/1.1 200 OK\r\nX\0: a\r\n\r\n"),
}


def find(uri):
    return MlflowSource(parse_address("models:/R@champion"), {"MLFLOW_TRACKING_URI": uri}).resolve()


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_server_costs_one_look_and_a_bounded_time(serve, name):
    server = serve(HOSTILE[name])
    start_s = time.monotonic()
    with pytest.raises(SacpipeError) as error:
        find(server.uri)
    assert time.monotonic() - start_s < 2.0
    assert server.connections == 1  # no redirection is followed, and nothing is asked twice
    assert server.uri in str(error.value) or "expected at most 1048576 bytes" in str(error.value)
    assert not [thread for thread in threading.enumerate() if thread.name == "fetch"]


@pytest.mark.slow
def test_a_tls_handshake_that_drips_is_cut_off(serve):
    server = serve(drip(b"\x16\x03\x03\x40\x00", b"\0"))  # a record of 16 KiB, byte by byte
    start_s = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"no answer began within 0\.3 s") as error:
        find(server.uri.replace("http:", "https:"))
    assert error.value.code == "too slow"
    assert time.monotonic() - start_s < 2.0


@pytest.mark.slow
def test_a_body_faster_than_the_minimum_is_read_to_its_end(serve, monkeypatch):
    monkeypatch.setattr(http_fetch, "LOOK_S", 10.0)
    parts = [b"x" * 100] * 60
    server = serve(pieces(OK + b"Content-Length: 6000\r\n\r\n", *parts))
    look = Look()
    answer = Fetcher(ssl.create_default_context(), {}).fetch(server.uri, 10_000, look)
    assert (answer.status, answer.body) == (200, b"x" * 6000)
    assert 0.5 < 10.0 - look.left_s < 5.0  # the time of the look is used up


@pytest.mark.slow
def test_a_whole_look_has_one_deadline(serve, monkeypatch):
    """Each request alone would be in time."""
    monkeypatch.setattr(http_fetch, "_START_S", 10.0)

    def slow(connection, is_over):
        is_over.wait(0.25)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    server, look = serve(slow), Look()
    fetcher = Fetcher(ssl.create_default_context(), {})
    with pytest.raises(StoreUnavailableError, match=r"the look took longer than 0\.6 s"):
        for _ in range(5):
            assert fetcher.fetch(server.uri, 10, look).body == b"{}"
    assert server.connections in (2, 3)


@pytest.mark.slow
def test_two_threads_wait_for_one_another(serve):
    has_begun = threading.Event()

    def hold_the_first(connection, is_over):
        has_begun.set()
        if server.connections == 1:
            is_over.wait(10)
        connection.sendall(OK + b"Content-Length: 2\r\n\r\n{}")

    server = serve(hold_the_first)
    fetcher, errors = Fetcher(ssl.create_default_context(), {}), []

    def ask():
        try:
            fetcher.fetch(f"{server.uri}/bars", 100, Look())
        except StoreUnavailableError as exc:
            errors.append(exc)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    assert has_begun.wait(10)
    assert fetcher.fetch(f"{server.uri}/bundle", 100, Look()).body == b"{}"
    thread.join(10)
    assert len(errors) == 1


@pytest.mark.slow
def test_a_lookup_of_a_name_that_hangs_holds_no_look_and_one_thread(monkeypatch):
    hanging, lookups = threading.Event(), itertools.count()

    def hang(*_, **__):
        next(lookups)
        hanging.wait(10.0)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr(http_fetch, "_END_S", 0.01)
    source = MlflowSource(parse_address("models:/R/1"), {"MLFLOW_TRACKING_URI": "http://registry.example"})
    start_s = time.monotonic()
    for _ in range(5):
        with pytest.raises(StoreUnavailableError, match="no answer began within|still waits for the lookup"):
            source.resolve()
    assert time.monotonic() - start_s < 2.0
    assert next(lookups) == 1
    hanging.set()
    while any(thread.name == "fetch" for thread in threading.enumerate()):
        time.sleep(0.01)
    with pytest.raises(StoreUnavailableError, match="Temporary failure in name resolution") as error:
        source.resolve()  # a lookup that answers is asked again
    assert error.value.code == "gaierror"


@pytest.mark.parametrize("host", ["a" * 70 + ".example", "registry..example", "x\u00ad" * 40])
def test_a_name_that_no_server_can_have_is_an_address_that_does_not_answer(host):
    with pytest.raises(SacpipeError, match="does not answer|MLFLOW_TRACKING_URI"):
        find(f"http://{host}")


def test_a_registry_on_this_machine_has_begun_without_a_proxy(serve, monkeypatch):
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    server = serve(lambda connection, _is_over: connection.sendall(OK + b"Content-Length: 2\r\n\r\nok"))
    answer = Fetcher(ssl.create_default_context(), {}).fetch(server.uri, 100, Look())
    assert (answer.status, answer.body) == (200, b"ok")
