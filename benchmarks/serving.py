"""The server beside MLflow's own on the same policy: how long one client waits for an action on loopback.

    python benchmarks/serving.py [ROUNDS [REQUESTS]]     5 rounds of 2,000 requests by default

Each round asks every arm in shuffled order over a connection that stays open: ours in binary and in
JSON, `mlflow models serve` in its own JSON, all with the same two terms; and a second server of ours, whose
policy has 17 terms of one number, with a flat input and with all terms by name. The client is a bare socket
that sends bytes made beforehand, the same for all: what is measured is the servers.
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
from runtime import SIZES, SPEC, make_bundle
from terms_bundle import TERMS, make_terms_bundle

from sacpipe.server.inputs import FLAT_INPUT
from sacpipe.specs.observation import Observation
from sacpipe.tracking.mlflow.connection import MlflowConnection

ARMS = ("ours, binary", "ours, JSON", "mlflow models serve")
TERM_ARMS = ("17 terms, flat binary", "17 terms, binary", "17 terms, flat JSON", "17 terms, JSON")
INFER = "/v2/models/policy/infer"
JSON = {"Content-Type": "application/json"}
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


def ask_binary(port: int, observation: np.ndarray, sizes: dict[str, int]) -> Ask:
    """Return what asks with raw tensors of these lengths, in this order."""
    inputs = [
        {"name": name, "shape": [1, size], "datatype": "FP32", "parameters": {"binary_data_size": 4 * size}}
        for name, size in sizes.items()
    ]
    head = json.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}}).encode()
    kind = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    return asker(port, INFER, head + observation.tobytes(), kind)


def ask_json(port: int, observation: np.ndarray, sizes: dict[str, int]) -> Ask:
    """Return what asks with lists of numbers of these lengths, in this order."""
    inputs, first = [], 0
    for name, size in sizes.items():
        data = observation[first : first + size].tolist()
        inputs.append({"name": name, "shape": [1, size], "datatype": "FP32", "data": data})
        first += size
    return asker(port, INFER, json.dumps({"inputs": inputs}).encode(), JSON)


def askers(port: int, terms_port: int, mlflow_port: int) -> dict[str, Ask]:
    """Return what asks each arm for one action."""
    observation = np.linspace(-1.0, 1.0, SPEC.observation_dim, dtype=np.float32)
    flat, terms = {FLAT_INPUT: observation.size}, dict.fromkeys(TERMS, 1)
    parts = Observation(SPEC.layout, observation[np.newaxis], {})
    theirs = json.dumps({"inputs": {name: parts[name].tolist() for name in SIZES}}).encode()
    return {
        ARMS[0]: ask_binary(port, observation, SIZES),
        ARMS[1]: ask_json(port, observation, SIZES),
        ARMS[2]: asker(mlflow_port, "/invocations", theirs, JSON),
        TERM_ARMS[0]: ask_binary(terms_port, observation, flat),
        TERM_ARMS[1]: ask_binary(terms_port, observation, terms),
        TERM_ARMS[2]: ask_json(terms_port, observation, flat),
        TERM_ARMS[3]: ask_json(terms_port, observation, terms),
    }


def register(bundle: Path, folder: Path) -> tuple[str, dict[str, str]]:
    """Log a bundle as an MLflow model; return its address and what MLflow needs to find it."""
    address = f"sqlite:///{folder / 'mlflow.db'}"
    store = MlflowConnection(address, folder / "artifacts")
    run = store.client.create_run(store.experiment_id)
    return f"models:/{store.log_bundle(run.info.run_id, bundle)}", {"MLFLOW_TRACKING_URI": address}


@contextlib.contextmanager
def servers() -> Iterator[dict[str, Ask]]:
    """Start all servers and return what asks each arm."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        folder = Path(temporary)
        bundle = make_bundle(folder / "bundle", 1)
        terms = make_terms_bundle(folder / "terms")
        uri, environment = register(bundle, folder)
        ports = [free_port() for _ in range(3)]
        for port, source in zip(ports, (bundle, terms), strict=False):
            words = [sys.executable, "-m", "sacpipe.server", str(source), "--port", str(port)]
            stack.enter_context(started(words, port, "/v2/health/ready", {}))
        words = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", uri]
        words += ["--env-manager", "local", "--host", "127.0.0.1", "--port", str(ports[2])]
        stack.enter_context(started(words, ports[2], "/ping", environment))
        yield askers(*ports)


def main(rounds: int = 5, requests: int = 2000) -> None:
    """Measure, print and write."""
    arms = ARMS + TERM_ARMS
    order, found = np.random.default_rng(0), {arm: [] for arm in arms}
    with servers() as asks:
        for ask in asks.values():
            measure(ask, 200)
        for _ in range(rounds):
            for index in order.permutation(len(arms)):
                arm = arms[index]
                found[arm].append(measure(asks[arm], requests))
    figures: dict[str, Any] = {"rounds": rounds, "requests": requests, "arms": {}}
    for arm, turns in found.items():
        figures["arms"][arm] = {name: spread(turn[name] for turn in turns) for name in turns[0]}
    pairs = zip(found[ARMS[2]], found[ARMS[0]], strict=True)
    figures["times_faster"] = spread(theirs["p50"] / ours["p50"] for theirs, ours in pairs)
    pairs = zip(found[TERM_ARMS[1]], found[TERM_ARMS[0]], strict=True)
    figures["terms_over_flat"] = spread(terms["p50"] / flat["p50"] for terms, flat in pairs)
    write("serving", ["onnxruntime", "httptools", "mlflow"], figures, "\n".join(page(figures)))


def page(figures: dict[str, Any]) -> list[str]:
    """Say the figures to people."""
    rows = [[arm, *(shown(part[name]) for name in part)] for arm, part in figures["arms"].items()]
    goals = ", ".join(f"{name} {goal:g} ms" for name, goal in GOALS_MS.items())
    return [
        paragraph(f"""
            One observation of two terms and 17 numbers, 17-256-256-6, one client on loopback, the connection
            kept open:
            {figures["rounds"]} rounds of {figures["requests"]:,} requests an arm, milliseconds, median of the
            rounds (lowest to highest). Goals, binary: {goals}."""),
        table(["arm", "p50", "p99", "p99.9"], rows),
        paragraph(f"""
            `mlflow models serve` takes {shown(figures["times_faster"])} times as long as ours in binary
            (medians of a round). 17 terms by name take {shown(figures["terms_over_flat"])} times as long as
            the same observation in one flat input, both in binary."""),
    ]


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
