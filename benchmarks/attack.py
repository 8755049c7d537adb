"""A client with the token while 8 hostile peers attack the server: its latency, and the server's memory.

    python benchmarks/attack.py [SECONDS [KIND ...]]     5 s of every kind by default, about 25 minutes

Each attack is paired with a control: 8 processes that compute and send nothing. Peers and control have
niceness 19. The peers are at 127.0.0.2 to 127.0.0.9, the client at 127.0.0.1. The kinds are those of
`make attack` (tests/attack/hostile_clients.py), and so is the client, which also checks every answer.
"""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from report import ROOT, paragraph, table, write

sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "attack")]

from attacked_server import MAX_GROWTH_BYTES, AttackedServer, GoodClients, attacking, serving  # noqa: E402
from hostile_clients import ATTACKS  # noqa: E402
from hostile_peer import TOKEN  # noqa: E402
from robot_fixtures import GOLDEN_ACTIONS, make_model, write_model  # noqa: E402

PEERS = 8
MAX_P99_MS = 20.0
_SHOWN = 12
_BUSY = "import os, time; os.nice(19); end = time.monotonic() + {seconds}\nwhile time.monotonic() < end: pass"


@contextlib.contextmanager
def busy(seconds: float) -> Iterator[None]:
    """Load the processor as the peers may, without a byte sent."""
    code = _BUSY.format(seconds=seconds)
    processes = [subprocess.Popen([sys.executable, "-I", "-c", code]) for _ in range(PEERS)]
    try:
        yield
        for process in processes:
            process.wait(seconds + 30.0)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(
    server: AttackedServer, load: contextlib.AbstractContextManager[Any], seconds: float
) -> dict[str, Any]:
    """Return the client's latency in milliseconds, the growth of memory and the faults under a load."""
    before_bytes = server.memory_bytes()
    with GoodClients(server) as client, load:
        time.sleep(seconds)
    p50, p99 = np.percentile(client.latencies_s, [50.0, 99.0]) * 1e3 if client.latencies_s else (0.0, 0.0)
    return {
        "requests": len(client.latencies_s),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": max(client.latencies_s, default=0.0) * 1e3,
        "growth_mib": max(0, client.peak_bytes - before_bytes) / 2**20,
        "faults": len(client.faults),
        "first_faults": client.faults[:3],
    }


def run(kinds: list[str], seconds: float) -> dict[str, Any]:
    """Measure every kind and its control, each with a server of its own."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = write_model(folder / "bundle", make_model(), GOLDEN_ACTIONS)
        token = folder / "token"
        token.write_text(TOKEN)
        for kind in kinds:
            with serving(bundle, "--port", "0", "--token-file", token, log=folder / "stderr") as server:
                with GoodClients(server):
                    time.sleep(1.0)  # warm-up
                control = measure(server, busy(seconds), seconds)
                attacked = measure(server, attacking(kind, server, seconds, PEERS), seconds)
            found[kind] = {"control": control, "attack": attacked}
            print(f"{kind}: p99 {control['p99_ms']:.2f} -> {attacked['p99_ms']:.2f} ms", flush=True)
    return found


def page(found: dict[str, Any], seconds: float) -> list[str]:
    """Return the figures as text."""
    worst = sorted(found, key=lambda kind: -found[kind]["attack"]["p99_ms"])
    attacks = [found[kind]["attack"] for kind in found]
    slow = sum(attack["p99_ms"] > MAX_P99_MS for attack in attacks)
    large = sum(attack["growth_mib"] > MAX_GROWTH_BYTES / 2**20 for attack in attacks)
    faults = sum(attack["faults"] for attack in attacks)
    controls = [found[kind]["control"]["p99_ms"] for kind in found]
    rows = [
        [
            kind,
            *(
                f"{found[kind][part][name]:.2f}"
                for name in ("p50_ms", "p99_ms")
                for part in ("control", "attack")
            ),
            f"{found[kind]['attack']['growth_mib']:.1f}",
        ]
        for kind in worst[:_SHOWN]
    ]
    return [
        paragraph(f"""
            {len(found)} kinds of hostile clients, {PEERS} peers each for {seconds:g} s, niceness 19, and as a
            control the same number of processes that compute and send nothing. One client with the token: p99
            above {MAX_P99_MS:g} ms under {slow} of the attacks; memory grew by more than
            {MAX_GROWTH_BYTES // 2**20} MiB under {large}; wrong, refused or lost answers and failed health
            checks: {faults}. The control's p99: {np.median(controls):.2f} ms (median; {max(controls):.2f} at
            most). The {min(_SHOWN, len(found))} slowest, in milliseconds:"""),
        table(["attack", "p50, control", "p50, attack", "p99, control", "p99, attack", "memory, MiB"], rows),
    ]


def main(seconds: float = 5.0, *kinds: str) -> None:
    """Measure, print and write; a run of some kinds alone is printed and not written."""
    found = run(list(kinds or ATTACKS), seconds)
    text = "\n".join(page(found, seconds))
    if kinds:
        print(text)
        return
    figures = {"seconds": seconds, "peers": PEERS, "max_p99_ms": MAX_P99_MS, "kinds": found}
    write("attack", ["onnxruntime"], figures, text)


if __name__ == "__main__":
    main(*(float(word) for word in sys.argv[1:2]), *sys.argv[2:])
