"""The places that connections take: clients that showed the token have places of their own."""

import time
from collections.abc import Iterable
from typing import Protocol

from sacpipe.server.connection_limits import ConnectionLimits

_MAX_BUCKETS = 1024
"""Addresses whose rate is remembered."""


class Place(Protocol):
    """A connection, as the accounts of all connections know it."""

    address: str
    is_trusted: bool

    @property
    def is_evictable(self) -> bool:
        """Whether another client may take its place."""
        ...

    def end(self) -> None:
        """Close now if idle, else after the present answer."""
        ...

    def abort(self) -> None:
        """Close now."""
        ...


class Connections:
    """All open connections of a server, and the places they take.

    Args:
        limits: Bounds on clients.
        all_trusted: Whether the server has no token, so that all clients are alike.
    """

    def __init__(self, limits: ConnectionLimits, *, all_trusted: bool) -> None:
        self.limits, self.all_trusted = limits, all_trusted
        self.is_ending = False
        """Whether connections are closed after their present answer."""
        self.refused = 0
        """Connections and requests that were refused for their number or rate."""
        self._trusted: dict[Place, None] = {}
        """The connection with the oldest activity first."""
        self._untrusted: dict[Place, None] = {}
        """The oldest connection first."""
        self._by_address: dict[str, dict[Place, None]] = {}
        """The untrusted ones."""
        self._buckets: dict[str, _Bucket] = {}

    def __len__(self) -> int:
        return len(self._trusted) + len(self._untrusted)

    def add(self, connection: Place) -> bool:
        """Return whether a new connection gets a place.

        It takes the place of the oldest untrusted connection, of its own address or of all: clients that only
        hold connections open cannot lock others out.
        """
        if self.is_ending:
            return False
        if self.all_trusted:
            return self.trust(connection)
        limits = self.limits
        if not self.allow(connection):
            return False
        same = self._by_address.setdefault(connection.address, {})
        if len(same) >= limits.untrusted_connections_per_address and not self._evict(same):
            return False
        if len(self._untrusted) >= limits.untrusted_connections and not self._evict(self._untrusted):
            return False
        self._by_address.setdefault(connection.address, {})[connection] = None
        self._untrusted[connection] = None
        return True

    def trust(self, connection: Place) -> bool:
        """Give a trusted place to a connection that showed the token; return whether there is one."""
        if connection in self._trusted:
            self._trusted[connection] = self._trusted.pop(connection)  # its activity is the latest
            return True
        if len(self._trusted) >= self.limits.connections and not self._evict(self._trusted):
            self.refused += 1
            return False
        self.remove(connection)
        self._trusted[connection] = None
        connection.is_trusted = True
        if (bucket := self._buckets.get(connection.address)) is not None:
            bucket.refund()
        return True

    def remove(self, connection: Place) -> None:
        """Free the place of a connection."""
        self._trusted.pop(connection, None)
        if connection in self._untrusted:
            del self._untrusted[connection]
            same = self._by_address[connection.address]
            del same[connection]
            if not same:
                del self._by_address[connection.address]

    def allow(self, connection: Place) -> bool:
        """Count a connection or request of an untrusted client; return whether its rate is allowed."""
        rate, address = self.limits.untrusted_requests_per_s, connection.address
        bucket = self._buckets.get(address)
        if bucket is None:
            if len(self._buckets) >= _MAX_BUCKETS:
                self._forget_buckets(rate)
            bucket = self._buckets[address] = _Bucket(rate)
        is_allowed = bucket.take(rate)
        self.refused += not is_allowed
        return is_allowed

    def _forget_buckets(self, rate: float) -> None:
        """Forget the addresses that used nothing for a second, or all of them: memory has a bound, too."""
        now_s = time.monotonic()
        self._buckets = {
            address: bucket for address, bucket in self._buckets.items() if not bucket.is_full(rate, now_s)
        }
        if len(self._buckets) >= _MAX_BUCKETS:
            self._buckets.clear()

    def _evict(self, candidates: Iterable[Place]) -> bool:
        """Close the first connection that may be closed; return False if there is none."""
        evicted = next((one for one in candidates if one.is_evictable), None)
        if evicted is None:
            self.refused += 1
            return False
        self.remove(evicted)
        evicted.abort()
        return True

    def end(self) -> None:
        """Close idle connections now, and the others after their present answer."""
        self.is_ending = True
        for connection in [*self._trusted, *self._untrusted]:
            connection.end()

    def abort(self) -> None:
        """Close every connection now."""
        for connection in [*self._trusted, *self._untrusted]:
            connection.abort()


class _Bucket:
    """A token bucket that holds the requests of one second."""

    def __init__(self, rate: float) -> None:
        self._tokens, self._last_s = rate, time.monotonic()

    def _fill(self, rate: float, now_s: float) -> None:
        self._tokens = min(rate, self._tokens + (now_s - self._last_s) * rate)
        self._last_s = now_s

    def take(self, rate: float) -> bool:
        """Take one token; return whether there was one."""
        self._fill(rate, time.monotonic())
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True

    def refund(self) -> None:
        """Give one token back."""
        self._tokens += 1.0

    def is_full(self, rate: float, now_s: float) -> bool:
        """Return whether nothing was taken for a second."""
        self._fill(rate, now_s)
        return self._tokens >= rate
