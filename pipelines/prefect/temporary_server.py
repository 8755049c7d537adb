"""Prefect's temporary server: a child process that starts while the run goes on, and ends with it.

`SubprocessASGIServer` of Prefect 3.8 starts the same command, but importing it takes two seconds of the run's
own process, a Ctrl-C in the terminal ends the server together with the run, and a server that has ended is
waited for until the time-out, or started again without end.
"""

import atexit
import os
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prefect.settings import Settings

_STOP_S = 5.0


class TemporaryServer:
    """One server on a free port of this machine's loopback; it starts at once, and `wait` waits for it.

    Args:
        settings: Prefect's settings, which the server gets too.
        command: Program and arguments, without the listening socket's number; None for Prefect's.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, settings: "Settings", command: list[str] | None = None) -> None:
        self._limit_s = settings.server.ephemeral.startup_timeout_seconds
        own = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
        env = os.environ | own | settings.to_environment_variables(exclude_unset=True)
        # The server inherits the socket, so no other program takes its port, and a request waits until the
        # server answers or ends. Without Nagle's algorithm, which uvicorn leaves on for an inherited socket.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.api_url = f"http://127.0.0.1:{listening.getsockname()[1]}/api"
            # The server inherits the mask too. So Ctrl-C, which a terminal sends to all, ends the run and not
            # the server, and the run can still say that it was interrupted.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                number = listening.fileno()
                arguments = [*(command or _prefect_command()), "--fd", str(number)]
                self._process = subprocess.Popen(arguments, env=env, pass_fds=[number])
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        atexit.register(self.stop)

    def wait(self) -> None:
        """Wait until the server answers.

        Raises:
            RuntimeError: it ended, or did not answer within Prefect's time-out.
        """
        import httpx

        try:
            with httpx.Client(trust_env=False, timeout=self._limit_s) as client:
                client.get(f"{self.api_url}/health")
        except httpx.TimeoutException as exc:
            raise RuntimeError(f"it did not answer within {self._limit_s} s") from exc
        except httpx.HTTPError as exc:
            try:
                code = self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                raise RuntimeError(f"it closed the connection and goes on: {exc}") from exc
            message = f"its process ended with code {code} at its start; its own messages are above"
            raise RuntimeError(message) from exc

    def stop(self) -> None:
        """End the process, if it runs."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _prefect_command() -> list[str]:
    import prefect

    folder = str(prefect.__module_path__.parent)
    options = ["--app-dir", folder, "--log-level", "error", "--lifespan", "on"]
    return [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app", *options]
