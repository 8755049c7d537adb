"""A server in a process of its own, for the tests; as a script, one with what no option of ours gives."""

import http.client
import json
import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

from repository import ROOT

from sacpipe.robot.policy import OnnxPolicy
from sacpipe.server.connection_limits import LIMITS
from sacpipe.server.server import Access, Address, serve
from sacpipe.server.service import Service

SCRIPT = Path(__file__)


class Running:
    """A server that answers."""

    def __init__(self, process, host, port):
        self.process, self.host, self.port = process, host, port
        self.address = f"{host}:{port}"

    def connect(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=30)

    def ask(self, method, path, body=None, headers=None):
        """Return the status, the headers and the bytes of one answer."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def get(self, path, **headers):
        status, _, body = self.ask("GET", path, headers=headers)
        return status, json.loads(body)

    def infer(self, body, path="/v2/models/policy/infer", **headers):
        """Return the status and the JSON of an answer in JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        status, _, answer = self.ask("POST", path, data, headers)
        return status, json.loads(answer)


@contextmanager
def running(*command, env=None):
    """Start a server, wait for the line on stderr that says where it is, and end it."""
    clean = {name: value for name, value in os.environ.items() if name != "SACPIPE_TOKEN"}
    process = subprocess.Popen(
        [sys.executable, *(str(part) for part in command)],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=clean | {"PYTHONPATH": str(ROOT)} | (env or {}),
    )
    try:
        said = ""
        while " at http://" not in (line := process.stderr.readline()):
            said += line
            assert line, said
        host, _, port = line.strip().rpartition("http://")[2].rpartition(":")
        yield Running(process, host, int(port))
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def swap_for_ever(service, folders):
    """Load one bundle after the other, as a promotion does, and put each into service."""
    while True:
        for folder in folders:
            service.swap(OnnxPolicy(Path(folder)))


def main(limits, *folders):
    service = Service(OnnxPolicy(Path(folders[0])))
    if len(folders) > 1:
        threading.Thread(target=swap_for_ever, args=(service, folders[::-1]), daemon=True).start()
    serve(
        service, Address(host="127.0.0.1", port=0), Access(None, True), LIMITS.replace(**json.loads(limits))
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
