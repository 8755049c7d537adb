"""The server beside MLflow's own on the same policy: how long one client waits for an action on loopback.

    python benchmarks/serving.py [ROUNDS [REQUESTS]]     5 rounds of 2,000 requests by default

Each round asks every arm in shuffled order over a connection that stays open: ours in binary and in
JSON, `mlflow models serve` in its own JSON. The client is a bare socket that sends bytes made beforehand,
the same for all: what is measured is the servers.
"""

import contextlib
import http.client
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import ROOT, paragraph, shown, spread, table, write
from runtime import WIDTHS, make_bundle

from sacpipe.tracking.mlflow.connection import MlflowConnection

ARMS = ("ours, binary", "ours, JSON", "mlflow models serve")
GOALS_MS = {"p50": 0.4, "p99": 1.0}
_START_S = 120.0

Ask = Callable[[], None]


def free_port() -> int:
    """Return a free port of loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started(words: list[str], port: int, path: str, environment: dict[str, str]) -> Iterator[None]:
    """Start a server, wait until it answers, and end it."""
    process = subprocess.Popen(
        words,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        _wait(port, path)
        yield
    finally:
        os.killpg(process.pid, 15)
        process.wait()


def _wait(port: int, path: str) -> None:
    end = time.monotonic() + _START_S
    while time.monotonic() < end:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", path)
            if connection.getresponse().status == http.client.OK:
                return
        time.sleep(0.2)
    sys.exit(f"no server answers at port {port}")


def asker(port: int, path: str, body: bytes, headers: dict[str, str]) -> Ask:
    """Return what asks once over a connection that stays open."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    fields = {"Host": f"127.0.0.1:{port}", "Content-Length": str(len(body))} | headers
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    request = "\r\n".join([*lines, "", ""]).encode() + body

    def ask() -> None:
        connection.sendall(request)
        answer = b""
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += connection.recv(65_536)
        length = int(re.search(rb"(?i)\r\ncontent-length: *(\d+)", answer)[1])
        while len(answer) < end + 4 + length:
            answer += connection.recv(65_536)
        if not answer.startswith(b"HTTP/1.1 200 "):
            sys.exit(f"{path}: {answer[:500]!r}")

    return ask


def measure(ask: Ask, requests: int) -> dict[str, float]:
    """Ask so many times, one after the other; milliseconds."""
    times = np.zeros(requests)
    for index in range(requests):
        begin = time.perf_counter()
        ask()
        times[index] = time.perf_counter() - begin
    p50, p99, p999 = (np.percentile(times, [50.0, 99.0, 99.9]) * 1e3).tolist()
    return {"p50": p50, "p99": p99, "p999": p999}


def askers(port: int, mlflow_port: int) -> dict[str, Ask]:
    """Return what asks each arm for one action."""
    observation = np.linspace(-1.0, 1.0, WIDTHS[0], dtype=np.float32)
    tensor = {"name": "observation", "shape": [1, WIDTHS[0]], "datatype": "FP32"}
    size = {"binary_data_size": observation.nbytes}
    head = json.dumps(
        {"inputs": [tensor | {"parameters": size}], "parameters": {"binary_data_output": True}}
    ).encode()
    binary = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    text = json.dumps({"inputs": [tensor | {"data": observation.tolist()}]}).encode()
    theirs = json.dumps({"inputs": [observation.tolist()]}).encode()
    kind = {"Content-Type": "application/json"}
    infer = "/v2/models/policy/infer"
    return {
        ARMS[0]: asker(port, infer, head + observation.tobytes(), binary),
        ARMS[1]: asker(port, infer, text, kind),
        ARMS[2]: asker(mlflow_port, "/invocations", theirs, kind),
    }


def register(bundle: Path, folder: Path) -> tuple[str, dict[str, str]]:
    """Log a bundle as an MLflow model; return its address and what MLflow needs to find it."""
    address = f"sqlite:///{folder / 'mlflow.db'}"
    store = MlflowConnection(address, folder / "artifacts")
    run = store.client.create_run(store.experiment_id)
    return f"models:/{store.log_bundle(run.info.run_id, bundle)}", {"MLFLOW_TRACKING_URI": address}


def main(rounds: int = 5, requests: int = 2000) -> None:
    """Measure, print and write."""
    order, found = np.random.default_rng(0), {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        bundle = make_bundle(folder / "bundle", 1)
        uri, environment = register(bundle, folder)
        ours, theirs = free_port(), free_port()
        words = [sys.executable, "-m", "sacpipe.server", str(bundle), "--port", str(ours)]
        stack.enter_context(started(words, ours, "/v2/health/ready", {}))
        words = [
            sys.executable,
            "-m",
            "mlflow",
            "models",
            "serve",
            "--model-uri",
            uri,
        ]
        words += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(theirs)]
        stack.enter_context(started(words, theirs, "/ping", environment))
        asks = askers(ours, theirs)
        for ask in asks.values():
            measure(ask, 200)
        for _ in range(rounds):
            for index in order.permutation(len(ARMS)):
                arm = ARMS[index]
                found[arm].append(measure(asks[arm], requests))
    figures: dict[str, Any] = {"rounds": rounds, "requests": requests, "arms": {}}
    for arm, turns in found.items():
        figures["arms"][arm] = {name: spread(turn[name] for turn in turns) for name in turns[0]}
    pairs = zip(found[ARMS[2]], found[ARMS[0]], strict=True)
    figures["times_faster"] = spread(theirs["p50"] / ours["p50"] for theirs, ours in pairs)
    write("serving", ["onnxruntime", "httptools", "mlflow"], figures, "\n".join(page(figures)))


def page(figures: dict[str, Any]) -> list[str]:
    """Say the figures to people."""
    rows = [[arm, *(shown(part[name]) for name in part)] for arm, part in figures["arms"].items()]
    goals = ", ".join(f"{name} {goal:g} ms" for name, goal in GOALS_MS.items())
    return [
        paragraph(f"""
            One observation of 17 numbers, 17-256-256-6, one client on loopback, the connection kept open:
            {figures["rounds"]} rounds of {figures["requests"]:,} requests an arm, milliseconds, median of the
            rounds (lowest to highest). Goals, binary: {goals}."""),
        table(["arm", "p50", "p99", "p99.9"], rows),
        paragraph(f"""
            `mlflow models serve` takes {shown(figures["times_faster"])} times as long as ours in binary
            (medians of a round)."""),
    ]


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
