"""An MLflow server on PostgreSQL with basic auth, as docs/ledger.md describes it, for the tests."""

import base64
import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from postgresql import PostgreSQL, free_port, postgresql

ADMIN = "admin"
ACCOUNTS = ("trainer", "promoter", "robot")
"""Accounts of the server. Each may read everything; a trainer's models are those that it makes."""
_READY = (
    "Uvicorn running on"  # printed after the socket is bound; "Application startup complete" comes before
)


class Answer(NamedTuple):
    """A status and the text of an answer."""

    status: int
    text: str


class Server:
    """A server that answers, and the cluster beneath it. The database `direct` in it is empty."""

    def __init__(self, port: int, cluster: PostgreSQL, passwords: dict[str, str], process: "Process") -> None:
        self.uri, self.cluster, self.passwords = f"http://127.0.0.1:{port}", cluster, passwords
        self.process = process

    def variables(self, account: str) -> dict[str, str]:
        """Return MLflow's variables of an account."""
        return {
            "MLFLOW_TRACKING_URI": self.uri,
            "MLFLOW_TRACKING_USERNAME": account,
            "MLFLOW_TRACKING_PASSWORD": self.passwords[account],
        }

    def ask(self, path: str, account: str = "", tree: Any = None, method: str = "", **headers: str) -> Answer:
        """Ask the server.

        Args:
            path: Path below the address.
            account: Account; empty for none.
            tree: JSON body, sent by POST unless a method is named.
            method: HTTP method.
            headers: Further headers.
        """
        if account:
            token = base64.b64encode(f"{account}:{self.passwords[account]}".encode()).decode()
            headers |= {"Authorization": f"Basic {token}"}
        data = None if tree is None else json.dumps(tree).encode()
        if data is not None:
            headers |= {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.uri}{path}", data, headers, method=method or None)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return Answer(answer.status, answer.read().decode())
        except urllib.error.HTTPError as exc:
            with exc:
                return Answer(exc.code, exc.read().decode())

    def permit(self, name: str, account: str, permission: str) -> None:
        """Give an account a permission on a registered model: READ, EDIT, MANAGE."""
        tree = {"name": name, "username": account, "permission": permission}
        answer = self.ask("/api/2.0/mlflow/registered-models/permissions/create", ADMIN, tree)
        assert answer.status == 200, answer


@contextmanager
def mlflow_on_postgresql(folder: Path) -> Iterator[Server]:
    """Start a cluster and a server on it, and end both.

    Args:
        folder: Folder of the artifacts, of the configuration of the accounts, and of the server's log.
    """
    with postgresql("mlflow", "auth", "direct") as cluster:
        port = free_port()
        passwords = {name: secrets.token_urlsafe(16) for name in (ADMIN, *ACCOUNTS)}
        config = folder / "auth.ini"
        config.touch(mode=0o600)
        # A percent sign is doubled, because the file is read with interpolation.
        config.write_text(
            "[mlflow]\ndefault_permission = READ\nadmin_username = admin\nauth_cache_ttl_seconds = 600\n"
            f"database_uri = {cluster.address('auth').replace('%', '%%')}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
        )
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")
        } | {
            "MLFLOW_BACKEND_STORE_URI": cluster.address("mlflow"),
            "MLFLOW_AUTH_CONFIG_PATH": str(config),
            "MLFLOW_AUTH_ADMIN_PASSWORD": passwords[ADMIN],
            "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        command = [sys.executable, "-m", "mlflow", "server", "--app-name=basic-auth", "--workers=1"]
        command += ["--host=127.0.0.1", f"--port={port}", f"--allowed-hosts=127.0.0.1:{port}"]
        command += [f"--artifacts-destination={(folder / 'artifacts').as_uri()}"]
        process = Process(command, environment, folder / "server.log")
        try:
            process.start()
            server = Server(port, cluster, passwords, process)
            for name in ACCOUNTS:
                tree = {"username": name, "password": passwords[name]}
                answer = server.ask("/api/2.0/mlflow/users/create", ADMIN, tree)
                assert answer.status == 200, answer
            yield server
        finally:
            process.end()


class Process:
    """A server's process, which may be started again after its end."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: Path) -> None:
        self._command, self._environment, self._log = command, environment, log
        self._running: tuple[subprocess.Popen[str], threading.Thread] | None = None

    def start(self) -> None:
        """Start it, and wait until it says that it is ready, for up to three minutes."""
        process = subprocess.Popen(
            self._command,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        is_ready = threading.Event()

        def read() -> None:
            with self._log.open("a") as file:
                for line in process.stdout or ():
                    file.write(line)
                    file.flush()
                    if _READY in line:
                        is_ready.set()
            is_ready.set()  # it has ended

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        self._running = (process, reader)
        assert is_ready.wait(180)
        assert process.poll() is None, self._log.read_text()

    def end(self) -> None:
        """Kill it with its workers; one that has ended stays so."""
        if self._running is None:
            return
        process, reader = self._running
        self._running = None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        reader.join()
