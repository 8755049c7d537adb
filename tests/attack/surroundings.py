"""A server in surroundings that a test chooses: its streams, limits, user, folder, environment and registry."""

import contextlib
import ctypes
import http.client
import http.server
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repository import ROOT

from sacpipe.robot.load_gate import run_load_gate
from sacpipe.rollout.bundle_store import BundleStore
from sacpipe.rollout.follow_settings import FollowSettings
from sacpipe.rollout.sources import read_source

START_S = 40.0
_LIBC = ctypes.CDLL(None)
_PR_CAPBSET_DROP = 24
_RIGHTS = (1, 2, 3)
"""Numbers of CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER in linux/capability.h."""


def free_port() -> int:
    """Return a port on which no process listens, below those that clients' sockets get."""
    while True:
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("", 15_000 + secrets.randbelow(15_000)))
            return int(probe.getsockname()[1])


def bound_by_file_modes() -> None:
    """Run in a child process before its program: the superuser then obeys file modes as others do."""
    for right in _RIGHTS:
        _LIBC.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)


class Host:
    """A server process at a port that the test chose, as it may be unable to write which one it has."""

    def __init__(self, process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
        self.process, self.port, self.log_file = process, port, log

    def log(self) -> str:
        """Return what the server wrote to stderr, where that is a file."""
        return self.log_file.read_text(errors="replace")

    def ask(
        self, path: str = "/v2/health/live", host: str = "127.0.0.1", body: Any = None
    ) -> tuple[int, Any]:
        """Return status and JSON of one answer."""
        connection = http.client.HTTPConnection(host, self.port, timeout=10)
        try:
            connection.request("GET" if body is None else "POST", path, body and json.dumps(body))
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = START_S) -> None:
        """Wait until a condition holds.

        Raises:
            AssertionError: it does not hold in time, or the process ended.
        """
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if condition():
                    return
            assert self.process.poll() is None, f"the server ended: {self.log()}"
            time.sleep(0.05)
        raise AssertionError(f"expected {what} within {seconds:g} s, found none: {self.log()}")

    def serves(self) -> bool:
        """Return whether the server gives the hand-made bundle's action, by either of its two policies."""
        request = {
            "inputs": [{"name": "observation", "shape": [1, 3], "datatype": "FP32", "data": [0.5, 0.25, 0.0]}]
        }
        status, answer = self.ask("/v2/models/policy/infer", body=request)
        return status == 200 and answer["outputs"][0]["data"] in ([1.25, 2.5], [-1.25, -2.5])

    def wait_for_service(self) -> None:
        """Wait until the server answers right."""
        self.wait(self.serves, "an answer")

    def status(self) -> Any:
        """Return what `/status.json` has."""
        return self.ask("/status.json")[1]

    def wait_for_event(self, kind: str, seconds: float = START_S) -> str:
        """Wait for an event of the follower, and return its text."""

        def texts() -> list[str]:
            return [event["text"] for event in self.status()["follower"]["events"] if event["kind"] == kind]

        self.wait(lambda: bool(texts()), f"an event '{kind}'", seconds)
        return texts()[0]

    def end(self) -> int:
        """End the server by SIGTERM and return its exit code."""
        self.process.terminate()
        return self.process.wait(15)


@contextlib.contextmanager
def hosted(
    log: Path,
    *arguments: object,
    before: tuple[str, ...] = (),
    more_environment: dict[str, str] | None = None,
    **options: Any,
) -> Iterator[Host]:
    """Start a server and end it.

    Args:
        log: File for stderr, where the options give no other.
        arguments: Of the server, the port apart.
        before: Command that starts the server's command, such as `sh -c`.
        more_environment: Variables besides those of the test.
        options: Of `subprocess.Popen`, where they differ.
    """
    port = free_port()
    clean = {name: value for name, value in os.environ.items() if name != "SACPIPE_TOKEN"}
    clean |= {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"} | (more_environment or {})
    # As -P would: a folder that the server starts in is not a place for modules. Then PYTHONPATH is.
    command = [*before, sys.executable, "-P", "-m", "sacpipe.server", *(str(part) for part in arguments)]
    with log.open("wb") as output:
        standard = {
            "cwd": ROOT,
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.DEVNULL,
            "stderr": output,
            "env": clean,
        }
        process = subprocess.Popen([*command, "--port", str(port)], **(standard | options))
    try:
        yield Host(process, port, log)
    finally:
        process.kill()
        process.wait()


def make_store(folder: Path, bundle: Path) -> Path:
    """Make a store whose current bundle is this one."""
    settings = FollowSettings.read(None).gate
    admitted = run_load_gate(read_source(bundle, allow_hard_links=True), settings)
    with BundleStore(folder) as store:
        store.set_current(store.add(admitted), "somewhere")
    return folder


def write_terms(path: Path) -> Path:
    """Write settings of a follower that polls often and promotes at once."""
    path.write_text(
        "poll_s: 0.2\nretry_s: 0.2\nrollout:\n  shadow_s: 0.0\n  min_shadow_steps: 0\n  watch_s: 0.0\n"
    )
    return path


class Registry:
    """A registry that answers in whatever way the test gives."""

    def __init__(self, answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
        self.paths: list[str] = []
        paths = self.paths

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                paths.append(self.path)
                with contextlib.suppress(OSError):
                    answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.uri = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Registry":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def send_json(handler: http.server.BaseHTTPRequestHandler, tree: Any, status: int = 200) -> None:
    """Answer in JSON."""
    body = json.dumps(tree).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def send_version(handler: http.server.BaseHTTPRequestHandler, digest: str) -> None:
    """Answer that the alias names a version with this digest."""
    tags = [{"key": "sacpipe.bundle_digest", "value": digest}]
    version = {"version": "1", "source": "mlflow-artifacts:/1/models/m-1/artifacts", "tags": tags}
    send_json(handler, {"model_version": version})


def replace_folder(folder: Path, other: Path) -> None:
    """Replace a bundle's folder by another bundle."""
    shutil.rmtree(folder)
    shutil.copytree(other, folder)
