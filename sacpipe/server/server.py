"""The server's process: its address, its token, its start and its shutdown."""

import argparse
import asyncio
import contextlib
import errno
import gc
import ipaddress
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.core.logging import report_line
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.sources import Source
from sacpipe.rollout.stored_policies import load_starting_policy
from sacpipe.server.app import Access, App
from sacpipe.server.connection import Connection
from sacpipe.server.connection_limits import LIMITS, ConnectionLimits
from sacpipe.server.connections import Connections
from sacpipe.server.service import Service

_BACKLOG = 128
_POLL_S = 0.02
_MIN_TOKEN = 16


class Address(Config):
    """Address to listen at."""

    host: str
    port: int = Field(ge=0, le=65_535)
    """Port; 0 for any free port."""


class Server:
    """Listens, and ends in three steps: not ready, then no new connections, then no connections; exit code 0.

    Args:
        service: Answers.
        connections: Accounts of the clients.
        accept: Makes the protocol of a new connection.
    """

    def __init__(
        self, service: Service, connections: Connections, accept: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._service, self._connections, self._accept = service, connections, accept
        self._is_ending, self._is_forced = asyncio.Event(), asyncio.Event()

    async def run(self, listeners: Sequence[socket.socket]) -> None:
        """Serve until Ctrl-C or SIGTERM; a second signal ends at once."""
        loop, limits = asyncio.get_running_loop(), self._connections.limits
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._end)
        with contextlib.suppress(AttributeError):  # a terminal that closes does not stop a robot
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        servers = [
            await loop.create_server(self._accept, sock=listener, backlog=_BACKLOG) for listener in listeners
        ]
        # Freeze the heap: the collector then skips the objects of the start.
        gc.collect()
        gc.freeze()
        self._report(listeners)
        await self._is_ending.wait()
        await self._wait(self._is_forced.wait, limits.drain_s)
        for server in servers:
            server.close()
        self._connections.end()
        await self._wait(self._until_idle, limits.finish_s)
        self._connections.abort()

    async def _wait(self, until: Callable[[], Awaitable[object]], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(until(), timeout_s)

    async def _until_idle(self) -> None:
        while len(self._connections) and not self._is_forced.is_set():
            await asyncio.sleep(_POLL_S)

    def _end(self) -> None:
        if self._is_ending.is_set():
            self._is_forced.set()
        self._service.is_draining = True
        self._is_ending.set()

    def _report(self, listeners: Sequence[socket.socket]) -> None:
        policy = self._service.active.policy
        for listener in listeners:
            host, port = listener.getsockname()[:2]
            where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            report_line(f"serving {policy.contract.spec.task}, bundle {policy.digest[:12]}, at {where}")


def serve_source(source: Source, arguments: argparse.Namespace) -> int:
    """Serve the bundle of a source until Ctrl-C or SIGTERM, and return the exit code.

    Args:
        source: Names the bundle; with --follow, it is polled.
        arguments: The arguments of `add_server_arguments`.

    Raises:
        ConfigError: a setting, the store, the name, the address or the token is wrong.
        BundleError: the load gate refuses the bundle; with --follow, only where none of the store passes.
        StoreError: the source failed; with --follow, only where no bundle of the store passes.
        BusyError: another process has the store.
    """
    settings = FollowSettings.read(None if arguments.terms is None else Path(arguments.terms))
    address = Address.parse({"host": arguments.host, "port": arguments.port}, source="command line")
    token = read_token(arguments.token_file)
    access = access_of(address, token, is_insecure=arguments.insecure_no_token)
    if arguments.follow != (arguments.store is not None):
        raise ConfigError("--follow, --store: expected both or none. The store keeps the followed bundles.")
    make_service = partial(Service, name=arguments.name, max_sequences=arguments.max_sequences)
    if not arguments.follow:
        serve(make_service(run_load_gate(source.resolve().pull(), settings.gate).policy), address, access)
        return 0
    with BundleStore(Path(arguments.store)) as store:
        service = make_service(load_starting_policy(source, store, settings.gate))
        with Follower(source, service, store, settings) as follower:
            serve(service, address, access, follower=follower)
    return 0


def serve(
    service: Service,
    address: Address,
    access: Access,
    limits: ConnectionLimits = LIMITS,
    follower: Follower | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises:
        ConfigError: the address cannot be bound.
    """
    handler = App(service, access, limits.body_bytes, follower)
    connections = Connections(limits, all_trusted=access.token is None)

    async def run(listeners: Sequence[socket.socket]) -> None:
        await Server(service, connections, lambda: Connection(connections, handler)).run(listeners)

    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in _listen(address)]
        with asyncio.Runner(loop_factory=_new_event_loop()) as runner:
            runner.run(run(listeners))


def _new_event_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's loop, which answers in half the time, if it is installed."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def access_of(address: Address, token: bytes | None, *, is_insecure: bool) -> Access:
    """Return the access rules of an address.

    Args:
        address: Address to listen at.
        token: Token of the server; None for none.
        is_insecure: Whether the operator allows an address of the network without a token.

    Raises:
        ConfigError: every client of the network could send requests.
    """
    is_loopback = address.host == "localhost"
    with contextlib.suppress(ValueError):
        is_loopback = ipaddress.ip_address(address.host).is_loopback
    if not is_loopback and token is None and not is_insecure:
        raise ConfigError(
            f"--host: expected a loopback address where there is no token, found '{address.host}'. Give "
            "--token-file or SACPIPE_TOKEN, or read about --insecure-no-token in --help."
        )
    return Access(token, is_loopback and token is None)


def read_token(file: str | None) -> bytes | None:
    """Return the token of a file; without a file, of the environment; None where there is none.

    Args:
        file: Path of the file; None to read the variable SACPIPE_TOKEN.

    Raises:
        ConfigError: the file cannot be read, or a header cannot carry the token. The token is never shown.
    """
    where = "SACPIPE_TOKEN" if file is None else file
    try:
        text = os.environ.get("SACPIPE_TOKEN") if file is None else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--token-file: {file} cannot be read: {type(exc).__name__}.") from exc
    if text is None:
        return None
    token = text.strip()
    if len(token) < _MIN_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"{where}: expected a token of at least {_MIN_TOKEN} ASCII letters, digits or signs, no spaces. "
            "`openssl rand -hex 32` makes one."
        )
    return token.encode()


def _listen(address: Address) -> list[socket.socket]:
    """Return a listener for each address of the host: for localhost, 127.0.0.1 and ::1.

    Raises:
        ConfigError: no address can be bound, or one is taken.
    """
    listeners: list[socket.socket] = []
    port, unavailable = address.port, None
    try:
        for family, host in _addresses(address):
            try:
                listeners.append(_bind(family, host, port))
                port = listeners[0].getsockname()[1]
            except OSError as exc:
                if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                    raise
                unavailable = exc
        if not listeners and unavailable is not None:
            raise unavailable
    except OSError as exc:
        for listener in listeners:
            listener.close()
        raise ConfigError(
            f"--host, --port: expected an address to bind, found {address.host}, port {port}: {exc}. "
            "Choose another port, or 0 for any."
        ) from exc
    return listeners


def _addresses(address: Address) -> list[tuple[int, str]]:
    """Return family and numeric address of every address of a host, IPv4 first."""
    if address.host == "localhost":  # whatever a hosts file makes of it
        return [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return sorted({(int(family), str(where[0])) for family, _, _, _, where in found})


def _bind(family: int, host: str, port: int) -> socket.socket:
    """Bind one address; `::` takes IPv4 clients as well, if the system can."""
    is_dual = family == socket.AF_INET6 and host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=is_dual)
