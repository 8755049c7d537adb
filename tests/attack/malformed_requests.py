"""Requests that are no HTTP, or that two readers could understand in two ways. None of them has the token.

Kind: the bytes to send, each over a connection of its own, and the statuses of which one must come back.
"""

from hostile_peer import HEALTH, INFER, TOKEN, head

_BAD = frozenset({400})
_REFUSED = frozenset({400, 401, 403, 404, 405, 411, 413, 417, 431, 501, 505})
_BEARER = f"Authorization: Bearer {TOKEN}"
_WRONG = "Authorization: Bearer 00000000000000000000000000000000"
_SMUGGLED = head("GET", "/status.json", host="inner")


def _health(*lines: str) -> bytes:
    return head("GET", HEALTH, *lines)


def _line(line: bytes) -> bytes:
    return line + b"\r\nHost: robot\r\n\r\n"


MALFORMED: dict[str, tuple[tuple[bytes, ...], frozenset[int]]] = {
    "huge announced length": ((head("POST", INFER, "Content-Length: 1000000000000000"),), _REFUSED),
    "length that is no number": (
        tuple(
            head("POST", INFER, f"Content-Length: {value}") for value in ("-1", "+5", "0x10", "5 5", "1e3")
        ),
        _REFUSED,
    ),
    "length beyond 64 bits": ((head("POST", INFER, f"Content-Length: {2**64 + 1}"),), _REFUSED),
    "length and chunks": (
        (head("POST", INFER, "Content-Length: 4", "Transfer-Encoding: chunked") + b"0\r\n\r\n" + _SMUGGLED,),
        _REFUSED,
    ),
    "two lengths": (
        (head("POST", INFER, "Content-Length: 0", "Content-Length: 60") + _SMUGGLED,),
        _BAD,
    ),
    "disguised transfer encoding": (
        (head("POST", INFER, "Transfer-Encoding: xchunked") + b"0\r\n\r\n" + _SMUGGLED,),
        _REFUSED,
    ),
    "two transfer encodings": (
        (
            head("POST", INFER, "Transfer-Encoding: chunked", "Transfer-Encoding: identity")
            + b"0\r\n\r\n"
            + _SMUGGLED,
        ),
        _REFUSED,
    ),
    "chunk size that is no number": (
        (head("POST", INFER, "Transfer-Encoding: chunked") + b"zz\r\nx\r\n0\r\n\r\n",),
        _REFUSED,
    ),
    "chunk size beyond 64 bits": (
        (head("POST", INFER, "Transfer-Encoding: chunked") + b"f" * 17 + b"\r\nx\r\n0\r\n\r\n",),
        _REFUSED,
    ),
    "chunk longer than its size": (
        (head("POST", INFER, "Transfer-Encoding: chunked") + b"1\r\nxxxx\r\n0\r\n\r\n",),
        _REFUSED,
    ),
    "header without colon": ((_health("NoColonHere"),), _BAD),
    "header without name": ((_health(": value"),), _BAD),
    "null byte in a header": ((_health("X: a\0b"),), _BAD),
    "line feed alone in a header": ((_health("X: a\nInjected: b"),), _BAD | {200}),
    "folded header": ((_health("X: a\r\n b"),), _BAD),
    "space before the colon": ((_health("Content-Length : 5"),), _BAD),
    "space in a header's name": ((_health("Content Length: 5"),), _BAD),
    "carriage return alone": ((b"GET / HTTP/1.1\rHost: robot\r\r",), _BAD),
    "two hosts": ((_health("Host: elsewhere"),), _BAD),
    "two authorizations, the right one first": (
        (head("GET", "/status.json", _BEARER, _WRONG),),
        _BAD,
    ),
    "two authorizations, the right one last": ((head("GET", "/status.json", _WRONG, _BEARER),), _BAD),
    "no host": ((f"GET {HEALTH} HTTP/1.1\r\n\r\n".encode(),), _BAD),
    "unicode in a header": (
        (_health("X-Name: \u00e9\u00ff", "Authorization: Bearer \u00e9"),),
        frozenset({200, 400}),
    ),
    "foreign origin": ((head("GET", HEALTH, "Origin: http://evil.example"),), frozenset({400, 403})),
    "absolute target": ((head("GET", "http://inner/status.json"),), _REFUSED),
    "target of an authority": ((head("CONNECT", "inner:80"),), _REFUSED),
    "target without a slash": ((_line(b"GET status.json HTTP/1.1"),), _REFUSED),
    "target of a star": ((head("OPTIONS", "*"),), _REFUSED),
    "target of two slashes": ((head("GET", "//v2/health/live"),), _REFUSED),
    "open path and up again": ((head("GET", HEALTH + "/../../../status.json"),), _REFUSED),
    "escaped slashes in the path": ((head("GET", "/v2%2fhealth%2f..%2f..%2fstatus.json"),), _REFUSED),
    "escaped null byte in the path": ((head("GET", "/status.json%00/v2/health/live"),), _REFUSED),
    "escapes that are no UTF-8": ((head("GET", "/v2/models/%ff%fe%c0%af"),), _REFUSED),
    "unknown method": ((head("BREW", HEALTH),), _REFUSED),
    "method in lower case": ((head("get", HEALTH),), _REFUSED),
    "trace": ((head("TRACE", HEALTH),), _REFUSED),
    "body on a get": (
        (head("GET", "/status.json", "Content-Length: 5") + b"hello",),
        frozenset({401}),
    ),
    "HTTP/0.9": ((b"GET /\r\n\r\n",), _BAD),
    "unknown version of HTTP": ((_line(b"GET / HTTP/7.3"),), _REFUSED),
    "preface of HTTP/2": ((b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0" * 64,), _REFUSED),
    "hello of TLS": ((bytes.fromhex("16030100c8010000c40303") + b"\x5a" * 200,), _BAD),
    "hello of SSH": ((b"SSH-2.0-OpenSSH_9.2\r\n",), _BAD),
    "upgrade to a web socket": (
        (
            head(
                "GET",
                "/status.json",
                "Upgrade: websocket",
                "Connection: Upgrade",
                "Sec-WebSocket-Version: 13",
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            ),
        ),
        _REFUSED,
    ),
    "upgrade to HTTP/2": (
        (head("GET", "/status.json", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings") + b"\0" * 64,),
        _REFUSED,
    ),
    "random bytes": ((bytes(range(256)) * 8,), _BAD),
    "token in the target": ((head("GET", f"/status.json?token={TOKEN}"),), frozenset({401})),
    "token in a cookie": ((head("GET", "/status.json", f"Cookie: token={TOKEN}"),), frozenset({401})),
    "token of another scheme": (
        (head("GET", "/status.json", f"Authorization: Basic {TOKEN}"),),
        frozenset({401}),
    ),
    "token in capitals": (
        (head("GET", "/status.json", f"Authorization: Bearer {TOKEN.upper()}"),),
        frozenset({401}),
    ),
    "beginning of the token": (
        (head("GET", "/status.json", f"Authorization: Bearer {TOKEN[:8]}"),),
        frozenset({401}),
    ),
}
