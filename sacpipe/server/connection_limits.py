"""Bounds on everything that a client decides: size, time, number, rate and silence."""

from pydantic import Field

from sacpipe.core.config import Config


class ConnectionLimits(Config):
    """Bounds on clients. A client is trusted once it has shown the token, or if the server has none."""

    header_bytes: int = Field(ge=1024)
    """Size of the request line with all headers."""
    headers: int = Field(ge=16)
    """Number of headers of a request, repeated ones included: each costs a call, however short it is."""
    body_bytes: int = Field(ge=1)
    """Size of the body of an inference request; other requests have none."""
    request_s: float = Field(gt=0)
    """Time from a request's first byte, or from the beginning of the connection, until its answer is sent."""
    idle_s: float = Field(gt=0)
    """Time between two requests of a trusted client."""
    connections: int = Field(ge=1)
    """Open connections of trusted clients."""
    untrusted_idle_s: float = Field(gt=0)
    """Time between two requests of any other client."""
    untrusted_connections: int = Field(ge=1)
    """Open connections of all other clients."""
    untrusted_connections_per_address: int = Field(ge=1)
    """Open connections of other clients from one address."""
    untrusted_requests_per_s: float = Field(gt=0)
    """Requests plus new connections a second of other clients from one address, and size of a burst."""
    drain_s: float = Field(ge=0)
    """Time from SIGTERM until no more connections are accepted: a load balancer notices meanwhile."""
    finish_s: float = Field(ge=0)
    """Time after that for requests under way. Containers kill 10 s after SIGTERM."""


LIMITS = ConnectionLimits(
    header_bytes=16_384,
    headers=100,
    body_bytes=2**22,
    request_s=10.0,
    idle_s=75.0,
    connections=256,
    untrusted_idle_s=5.0,
    untrusted_connections=128,
    untrusted_connections_per_address=12,
    untrusted_requests_per_s=200.0,
    drain_s=1.0,
    finish_s=5.0,
)
