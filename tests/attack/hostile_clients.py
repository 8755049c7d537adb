"""The hostile clients: each kind of attack on the server by its name. No kind differs from another in a number alone."""

import time
from collections.abc import Callable
from typing import NamedTuple

from careless_clients import WITH_TOKEN
from hostile_peer import HEALTH, INFER, TOKEN, Peer, head, post
from malformed_requests import MALFORMED

TURNED_AWAY = frozenset({0, 408, 429, 503})
"""What any attack may receive: an end, too slow, too many."""


class Attack(NamedTuple):
    """One kind of hostile client."""

    run: Callable[[Peer], None]
    """One round; repeated until the time is over."""
    answers: frozenset[int] = frozenset()
    """Statuses that the attack may receive, besides `TURNED_AWAY`. One of them, or of those, must arrive."""
    must_answer: bool = False
    """Whether one of `answers` must arrive: the request is refused by a reason and not only by its end."""


_CHUNKED = "Transfer-Encoding: chunked"
_HEALTH_REQUEST = head("GET", HEALTH)


def _endless_trailers(peer: Peer) -> None:
    peer.flood(head("GET", HEALTH, _CHUNKED) + b"0\r\n", b"x-trailer: value\r\n" * 64)


def _tiny_chunked_trailers(peer: Peer) -> None:
    """Whole requests, each with a chunked body of nothing and as many trailers as fit."""
    peer.flood(b"", head("POST", HEALTH, _CHUNKED) + b"0\r\n" + b"a:b\r\n" * 2000 + b"\r\n")


def _unread_pipeline(peer: Peer) -> None:
    peer.flood(b"", _HEALTH_REQUEST * 200)


def _unread_page(peer: Peer) -> None:
    """The open page is the longest answer without the token."""
    peer.flood(b"", head("GET", "/") * 20)


def _one_byte_a_second(peer: Peer) -> None:
    with peer.connect(receive_bytes=1024) as connection:
        connection.sendall(head("GET", "/") * 50)
        while peer.is_on() and connection.recv(1):
            time.sleep(min(1.0, max(0.0, peer.end_s - time.monotonic())))


def _half_close(peer: Peer) -> None:
    with peer.connect() as connection:
        connection.sendall(head("POST", INFER, "Content-Length: 100") + b"{")
        connection.shutdown(1)
        peer.count_answer(connection)


def _half_close_after_request(peer: Peer) -> None:
    with peer.connect() as connection:
        connection.sendall(_HEALTH_REQUEST)
        connection.shutdown(1)
        peer.count_answer(connection)


def _connect_and_close(peer: Peer) -> None:
    peer.connect().close()
    peer.statuses[0] += 1


def _endless_chunk_extension(peer: Peer) -> None:
    peer.flood(head("POST", INFER, _CHUNKED) + b"1;", b"extension=value;" * 64)


def _chunk_extensions(peer: Peer) -> None:
    peer.flood(head("POST", INFER, _CHUNKED), b"1;name=value\r\nx\r\n" * 64)


def _many_headers(peer: Peer) -> None:
    peer.flood(head("GET", HEALTH)[:-2], b"a:b\r\n" * 256)


def _healthy_flood(peer: Peer) -> None:
    with peer.connect() as connection:
        while peer.is_on():
            connection.sendall(_HEALTH_REQUEST)
            peer.count_answer(connection)


def _one_request_a_connection(peer: Peer) -> None:
    peer.ask(_HEALTH_REQUEST)


def _oversized_body(peer: Peer) -> None:
    peer.flood(head("POST", INFER, _CHUNKED), b"10000\r\n" + b"x" * 65_536 + b"\r\n")


def _oversized_body_on_health(peer: Peer) -> None:
    peer.flood(head("POST", HEALTH, _CHUNKED), b"10000\r\n" + b"x" * 65_536 + b"\r\n")


def _ask_each(peer: Peer, requests: tuple[bytes, ...]) -> None:
    for request in requests:
        peer.ask(request)


def _token_guesses(peer: Peer) -> None:
    with peer.connect() as connection:
        while peer.is_on():
            guess = f"Authorization: Bearer {TOKEN[:-1]}{peer.rounds % 10}x"
            connection.sendall(post(b"{}", guess))
            peer.count_answer(connection)
            peer.rounds += 1


_REFUSED = frozenset({400, 401, 405, 411, 413, 417, 431, 501})
_OPEN = _REFUSED | {200}

ATTACKS: dict[str, Attack] = {
    "endless trailers": Attack(_endless_trailers, _REFUSED),
    "tiny chunked trailers": Attack(_tiny_chunked_trailers, _REFUSED),
    "pipelined requests, answers never read": Attack(_unread_pipeline, _OPEN),
    "pipelined pages, answers never read": Attack(_unread_page, _OPEN),
    "answers read one byte a second": Attack(_one_byte_a_second),
    "idle connections": Attack(lambda peer: peer.hold(b"")),
    "idle after a good request": Attack(lambda peer: peer.hold(_HEALTH_REQUEST), _OPEN),
    "idle, renewed by a good request": Attack(
        lambda peer: peer.hold(_HEALTH_REQUEST, _HEALTH_REQUEST, pause_s=1.0), _OPEN
    ),
    "slow request line": Attack(lambda peer: peer.hold(b"G", b"E"), _REFUSED),
    "slow headers": Attack(lambda peer: peer.hold(head("GET", HEALTH)[:-2], b"x"), _REFUSED),
    "slow body": Attack(lambda peer: peer.hold(head("POST", INFER, "Content-Length: 4000"), b"x"), _REFUSED),
    "slow body on the open path": Attack(
        lambda peer: peer.hold(head("POST", HEALTH, "Content-Length: 4000"), b"x"), _REFUSED
    ),
    "slow chunks": Attack(lambda peer: peer.hold(head("POST", INFER, _CHUNKED), b"1\r\nx\r\n"), _REFUSED),
    "slow trailers": Attack(
        lambda peer: peer.hold(head("POST", INFER, _CHUNKED) + b"0\r\n", b"a:b\r\n"), _REFUSED
    ),
    "empty lines before a request": Attack(lambda peer: peer.flood(b"", b"\r\n" * 512), _REFUSED),
    "tiny chunks": Attack(
        lambda peer: peer.flood(head("POST", INFER, _CHUNKED), b"1\r\nx\r\n" * 128), _REFUSED
    ),
    "chunk extensions": Attack(_chunk_extensions, _REFUSED),
    "endless chunk extension": Attack(_endless_chunk_extension, _REFUSED),
    "endless chunk size": Attack(
        lambda peer: peer.flood(head("POST", INFER, _CHUNKED), b"0" * 1024), _REFUSED
    ),
    "many headers": Attack(_many_headers, _REFUSED, must_answer=True),
    "one endless header": Attack(
        lambda peer: peer.flood(head("GET", HEALTH)[:-2] + b"a: ", b"x" * 4096), _REFUSED, must_answer=True
    ),
    "endless header name": Attack(
        lambda peer: peer.flood(head("GET", HEALTH)[:-2], b"x" * 4096), _REFUSED, must_answer=True
    ),
    "endless target": Attack(lambda peer: peer.flood(b"GET /", b"x" * 4096), _REFUSED, must_answer=True),
    "endless method": Attack(lambda peer: peer.flood(b"", b"A" * 4096), _REFUSED),
    "body without end": Attack(_oversized_body, _REFUSED),
    "body without end on the open path": Attack(_oversized_body_on_health, _REFUSED),
    "half-closed in a body": Attack(_half_close, _REFUSED),
    "half-closed after a request": Attack(_half_close_after_request, _OPEN),
    "reset in a body": Attack(lambda peer: peer.reset(head("POST", INFER, "Content-Length: 100"), b"{")),
    "reset after a request": Attack(lambda peer: peer.reset(_HEALTH_REQUEST)),
    "reset at once": Attack(lambda peer: peer.reset()),
    "connect and close": Attack(_connect_and_close),
    "good requests without pause": Attack(_healthy_flood, _OPEN),
    "one request a connection": Attack(_one_request_a_connection, _OPEN),
    "expect 100-continue, no body": Attack(
        lambda peer: peer.hold(head("POST", INFER, "Content-Length: 9", "Expect: 100-continue")),
        _REFUSED | {100},
    ),
    "token guesses": Attack(_token_guesses, frozenset({401}), must_answer=True),
    **{
        kind: Attack(lambda peer, requests=requests: _ask_each(peer, requests), answers, must_answer=True)
        for kind, (requests, answers) in MALFORMED.items()
    },
    **{kind: Attack(run, answers, must_answer=True) for kind, (run, answers) in WITH_TOKEN.items()},
}
