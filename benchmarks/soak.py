"""The server under swaps: many requests over several connections while the policy changes again and again.

    python benchmarks/soak.py [REQUESTS [SWAPS]]     100,000 requests, 100 swaps by default; half a minute

Each swap is what a promotion is: the files are read anew, pass the gate (digests, graph, golden sequence,
timing) and are put into service, in a thread of the server, between two requests. Two policies take
turns. A connection asks one request after the other, stays open from the first to the last, and checks
each answer: its action has to be the one of the bundle whose digest it names.
"""

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import ROOT, paragraph, write
from runtime import ACTION_DIM, SIZES, SPEC, make_bundle

from sacpipe.core.errors import GateError
from sacpipe.robot.load_gate import LoadGateSettings, run_load_gate
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.rollout.sources import read_source
from sacpipe.server.app import Access
from sacpipe.server.server import Address, serve
from sacpipe.server.service import Service
from sacpipe.specs.observation import Observation

CONNECTIONS = 8
OBSERVATIONS = Observation(
    SPEC.layout, np.random.default_rng(0).standard_normal((256, SPEC.observation_dim), dtype=np.float32), {}
)
TOLERANCE = 1e-5
_SETTINGS = LoadGateSettings(public_keys=(), require_signature=False, allowed_operators=None, timing_runs=100)
_PATIENCE_S = 30.0
_MAX_ATTEMPTS = 20
_ACTION_BYTES = 4 * ACTION_DIM


Actions = dict[str, np.ndarray]
"""By a bundle's digest: its action for each of OBSERVATIONS."""


class Seen(NamedTuple):
    """What one connection got."""

    digests: Counter[str]
    wrong: int
    """Answers with another action than the bundle they name gives."""
    times_s: np.ndarray


def actions_of(folders: list[Path]) -> Actions:
    """Ask each bundle's own runtime."""
    policies = [OnnxPolicy(folder) for folder in folders]
    rows = [OBSERVATIONS.rows(index) for index in range(len(OBSERVATIONS.vector))]
    return {policy.digest: np.stack([policy.act(row) for row in rows]) for policy in policies}


def swap_on_request(service: Service, folders: list[Path]) -> None:
    """For each line of stdin try to put the next policy into service, and say on stdout what became of it."""
    turn = 1
    for _ in sys.stdin:
        files = read_source(folders[turn % len(folders)], allow_hard_links=False)
        try:
            service.swap(run_load_gate(files, _SETTINGS).policy)
        except GateError as exc:
            if exc.rule != "timing":
                raise
            said = "refused"
        else:
            said, turn = "swapped", turn + 1
        sys.stdout.write(said + "\n")
        sys.stdout.flush()


def be_server(folders: list[Path]) -> None:
    """Serve the first bundle, and swap when asked."""
    service = Service(OnnxPolicy(folders[0]))
    threading.Thread(target=swap_on_request, args=(service, folders), daemon=True).start()
    serve(service, Address(host="127.0.0.1", port=0), Access(None, True))


def messages(port: int) -> list[bytes]:
    """Return the request of each observation: its terms by name, in binary, as is the answer."""
    terms = [
        {"name": name, "shape": [1, size], "datatype": "FP32", "parameters": {"binary_data_size": 4 * size}}
        for name, size in SIZES.items()
    ]
    json_part = json.dumps({"inputs": terms, "parameters": {"binary_data_output": True}}).encode()
    size = len(json_part) + OBSERVATIONS.vector[0].nbytes
    head = (
        f"POST /v2/models/policy/infer HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        f"Inference-Header-Content-Length: {len(json_part)}\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
    return [head + json_part + row.tobytes() for row in OBSERVATIONS.vector]


def ask_often(port: int, requests: int, expected: Actions, done: threading.Semaphore) -> Seen:
    """Ask so many times over one connection; anything but an answer to each ends the run with an error."""
    bodies = messages(port)
    digests: Counter[str] = Counter()
    times_s, wrong = np.zeros(requests), 0
    with socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection.makefile("rb") as answers:
            for index in range(requests):
                row = index % len(bodies)
                begin = time.perf_counter()
                connection.sendall(bodies[row])
                body = _read_answer(answers)
                times_s[index] = time.perf_counter() - begin
                digest = json.loads(body[:-_ACTION_BYTES])["parameters"]["bundle_sha256"]
                action = np.frombuffer(body[-_ACTION_BYTES:], "<f4")
                digests[digest] += 1
                wrong += not np.allclose(action, expected[digest][row], rtol=0.0, atol=TOLERANCE)
                done.release()
    return Seen(digests, wrong, times_s)


def _read_answer(answers: Any) -> bytes:
    status = answers.readline()
    if status.split()[1:2] != [b"200"]:
        sys.exit(f"expected an answer with status 200, found {status!r} {answers.read()[:500]!r}")
    length = 0
    while (line := answers.readline()) != b"\r\n":
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    body: bytes = answers.read(length)
    return body


def main(requests: int = 100_000, swaps: int = 100) -> None:
    """Ask, swap, check, print and write."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = [make_bundle(Path(temporary) / f"bundle_{seed}", seed) for seed in (1, 2)]
        expected = actions_of(folders)
        words = [sys.executable, __file__, "--serve", *(str(folder) for folder in folders)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(words, cwd=ROOT, text=True, **pipes) as server:  # type: ignore[call-overload]
            try:
                port = int(server.stderr.readline().rpartition(":")[2])
                begin = time.monotonic()
                seen, durations_s, refused = _soak(server, port, expected, requests, swaps)
                took_s = time.monotonic() - begin
            finally:
                server.terminate()
    figures = figures_of(seen, durations_s) | {
        "took_s": took_s,
        "connections": CONNECTIONS,
        "refused_by_timing": refused,
    }
    write("soak", ["onnxruntime", "httptools"], figures, page(figures))


def _soak(
    server: "subprocess.Popen[str]", port: int, expected: Actions, requests: int, swaps: int
) -> tuple[list[Seen], list[float], int]:
    done, refused = threading.Semaphore(0), 0
    durations_s: list[float] = []
    share = requests // CONNECTIONS
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        clients = [pool.submit(ask_often, port, share, expected, done) for _ in range(CONNECTIONS)]
        for _ in range(swaps):
            begin, attempts = time.monotonic(), 0
            while (said := _try_to_swap(server)) == "refused\n" and attempts < _MAX_ATTEMPTS:
                begin, attempts = time.monotonic(), attempts + 1
            if said != "swapped\n":
                sys.exit(f"a swap failed: {said or server.stderr.read()}")
            refused += attempts
            durations_s.append(time.monotonic() - begin)
            for _ in range(requests // swaps * 9 // 10):
                if not done.acquire(timeout=_PATIENCE_S):
                    break  # the connection that failed says why below
        return [client.result() for client in clients], durations_s, refused


def _try_to_swap(server: "subprocess.Popen[str]") -> str:
    server.stdin.write("swap\n")
    server.stdin.flush()
    said: str = server.stdout.readline()
    return said


def figures_of(seen: list[Seen], durations_s: list[float]) -> dict[str, Any]:
    """Put together what the connections saw."""
    times_ms = np.concatenate([part.times_s for part in seen]) * 1e3
    p50, p99, p999 = np.percentile(times_ms, [50.0, 99.0, 99.9]).tolist()
    digests: Counter[str] = sum((part.digests for part in seen), Counter())
    return {
        "answered": digests.total(),
        "wrong": sum(part.wrong for part in seen),
        "by_bundle": dict(digests),
        "swaps": len(durations_s),
        "swap_ms": {"median": float(np.median(durations_s)) * 1e3, "largest": max(durations_s) * 1e3},
        "latency_ms": {"p50": p50, "p99": p99, "p999": p999, "largest": float(times_ms.max())},
    }


def page(figures: dict[str, Any]) -> str:
    """Say the figures to people."""
    latency, swap = figures["latency_ms"], figures["swap_ms"]
    shares = " and ".join(f"{count:,}" for count in figures["by_bundle"].values())
    return paragraph(f"""
        {figures["answered"]:,} requests of one observation over {figures["connections"]} connections in
        {figures["took_s"]:.0f} s, during {figures["swaps"]} swaps between two policies of 17-256-256-6, each
        read anew and passed through the gate while requests went on. Lost: none, as a lost one ends the run
        with an error. Answers whose action was not the one of the bundle they name: {figures["wrong"]}. The
        two policies gave {shares}. Latency with eight clients at once in one process:
        p50 {latency["p50"]:.2f}, p99 {latency["p99"]:.2f}, p99.9 {latency["p999"]:.1f},
        largest {latency["largest"]:.1f} ms. A swap took {swap["median"]:.0f} ms from reading to service,
        {swap["largest"]:.0f} at most. The gate's rule `timing`, which measures a policy while the same
        process answers all these requests, refused and was asked again {figures["refused_by_timing"]}
        times.""")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        be_server([Path(word) for word in sys.argv[2:]])
    else:
        main(*(int(word) for word in sys.argv[1:]))
