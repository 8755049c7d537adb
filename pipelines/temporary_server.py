"""Prefect's temporary server: a child process that starts while the run goes on, and ends with it.

`SubprocessASGIServer` of Prefect 3.8 starts the same command, but importing it takes two seconds of the run's
own process, a Ctrl-C in the terminal ends the server together with the run, a server that cannot start is
started again without end, and one that has ended is waited for until the time-out.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.settings import Settings

_RESTART_CODE = 3
"""Exit code of a server whose port another program took before it."""
_MAX_STARTS = 3
_POLL_S = 0.1
_STOP_S = 5.0


class TemporaryServer:
    """One server on a free port of this machine's loopback.

    Args:
        settings: Prefect's settings, which the server gets too.
        command: Program and arguments, without address and port; None for Prefect's.
    """

    def __init__(self, settings: "Settings", command: list[str] | None = None) -> None:
        self._settings, self._command = settings, command or _prefect_command()
        self._port = self._starts = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def api_url(self) -> str:
        """Address of its API, once it was started."""
        return f"http://127.0.0.1:{self._port}/api"

    def start(self) -> None:
        """Start the process, and return at once.

        Raises:
            OSError: it cannot be started.
        """
        self._starts += 1
        self._port = _free_port()
        own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        settings = self._settings.to_environment_variables(exclude_unset=True)
        # The server inherits the mask. So Ctrl-C, which a terminal sends to all, ends the run and not the
        # server, and the run can still say that it was interrupted.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self._process = subprocess.Popen(
                [*self._command, "--host", "127.0.0.1", "--port", str(self._port)],
                env={**os.environ, **own, **settings},
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if self._starts == 1:
            atexit.register(self.stop)

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: it ended, or did not answer within Prefect's time-out.
            OSError: it cannot be started again.
        """
        import httpx

        limit_s = self._settings.server.ephemeral.startup_timeout_seconds
        deadline = time.monotonic() + limit_s
        with httpx.Client(trust_env=False) as client:
            while time.monotonic() < deadline:
                self._start_again()
                try:
                    if client.get(f"{self.api_url}/health").status_code == httpx.codes.OK:
                        return
                except httpx.HTTPError:
                    pass  # it does not listen yet
                time.sleep(_POLL_S)
        raise RuntimeError(f"it did not answer within {limit_s} s")

    def stop(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start_again(self) -> None:
        """Start the server on another port where its own was taken; raise where it ended otherwise."""
        code = None if self._process is None else self._process.poll()
        if code is None:
            return
        if code != _RESTART_CODE or self._starts >= _MAX_STARTS:
            raise RuntimeError(f"its process ended with code {code} at its start; its own messages are above")
        self.start()


def _prefect_command() -> list[str]:
    import prefect

    folder = str(prefect.__module_path__.parent)
    options = ["--app-dir", folder, "--log-level", "error", "--lifespan", "on"]
    return [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", *options]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
