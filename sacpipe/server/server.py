"""The server's process: its address, its token, its start and its shutdown."""

import argparse
import contextlib
import gc
import ipaddress
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from pydantic import Field

from sacpipe.core.config import Config
from sacpipe.core.errors import ConfigError
from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.follower import Follower
from sacpipe.rollout.sources import Source
from sacpipe.rollout.starting_policy import load_starting_policy
from sacpipe.server.app import Access, App
from sacpipe.server.connection import LIMITS, Connection, ConnectionLimits, ServerConfig
from sacpipe.server.service import Service

_BACKLOG = 128
_MIN_TOKEN = 16


class Address(Config):
    """Address to listen at."""

    host: str
    port: int = Field(ge=0, le=65_535)
    """Port; 0 for any free port."""


class Server(uvicorn.Server):
    """uvicorn's server with our shutdown: first not ready, then no new connections, then exit code 0."""

    def __init__(self, config: ServerConfig, service: Service) -> None:
        super().__init__(config)
        self._service, self._drain_s = service, config.limits.drain_s
        self._stop_accepting_at_s: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and write the address to stderr."""
        await super().startup(sockets)
        # Freeze the heap: the garbage collector then skips start-up objects.
        gc.collect()
        gc.freeze()
        for listener in sockets or []:
            host, port = listener.getsockname()[:2]
            where = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            policy = self._service.active.policy
            sys.stderr.write(
                f"sacpipe: serving {policy.contract.spec.task}, bundle {policy.digest[:12]}, at {where}\n"
            )
        sys.stderr.flush()

    async def on_tick(self, counter: int) -> bool:
        """Return whether it is time to stop accepting connections."""
        is_over = self._stop_accepting_at_s is not None and time.monotonic() >= self._stop_accepting_at_s
        return await super().on_tick(counter) or is_over

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Handle Ctrl-C and SIGTERM. uvicorn raises them again at the end, which changes the exit code."""
        before = {
            number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler's signature
        """Begin the shutdown; at a second signal, end now."""
        if self._stop_accepting_at_s is not None:
            self.should_exit = self.force_exit = True
        self._service.is_draining = True
        self._stop_accepting_at_s = time.monotonic() + self._drain_s


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
    if not arguments.follow:
        serve(
            Service(run_load_gate(source.resolve().pull(), settings.gate).policy, arguments.name),
            address,
            access,
        )
        return 0
    with BundleStore(Path(arguments.store)) as store:
        service = Service(load_starting_policy(source, store, settings.gate), arguments.name)
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
    app: Any = App(service, access, limits.body_bytes, follower)  # uvicorn's types of messages are private
    config = ServerConfig(
        app,
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="uvloop" if sys.platform != "win32" else "auto",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=limits.idle_s,
        timeout_graceful_shutdown=round(limits.request_s) + 1,
    )
    config.limits = limits
    with _listen(address) as listener:
        Server(config, service).run([listener])


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


def _listen(address: Address) -> socket.socket:
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, _, _, _, where = found[0]
        return socket.create_server((str(where[0]), int(where[1])), family=family, backlog=_BACKLOG)
    except OSError as exc:
        raise ConfigError(
            f"--host, --port: expected an address to bind, found {address.host}, port {address.port}: {exc}. "
            "Choose another port, or 0 for any."
        ) from exc
