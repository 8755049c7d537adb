"""`python -m sacpipe.server.health`: is the server of a container alive? For its HEALTHCHECK.

The port is read from the command line of the server's process, which is number 1 in a container: the check
follows `--port`.
"""

import argparse
import http.client
import sys
from pathlib import Path

from sacpipe.server.arguments import add_server_arguments

_TIMEOUT_S = 2.0


def port_of(command_line: bytes) -> int:
    """Return the port in a server's command line, as /proc has it: arguments that end with a zero byte."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    add_server_arguments(parser, "")
    words = command_line.decode(errors="replace").split("\0")
    try:
        port: int = parser.parse_known_args(words)[0].port
    except argparse.ArgumentError:
        port = parser.get_default("port")
    return port


def is_alive(port: int) -> bool:
    """Return whether the server answers at a port of this machine."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/v2/health/live", headers={"Host": f"localhost:{port}"})
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Return 0 if process 1, or the one whose number is the argument, is a server that answers."""
    process = sys.argv[1] if len(sys.argv) > 1 else "1"
    return 0 if is_alive(port_of(Path("/proc", process, "cmdline").read_bytes())) else 1


if __name__ == "__main__":
    sys.exit(main())
