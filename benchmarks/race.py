"""Contenders in processes of their own, and rounds between them. engine.py makes figures of it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from report import ROOT

from sacpipe.core.fixed_arithmetic import fixed_environment
from sacpipe.kernels.isa import chosen
from sacpipe.kernels.team import VARIABLE as NATIVE_THREADS

OURS, ROUGH, TORCH = "sacpipe", "sacpipe-bfloat16", "sacpipe-torch"
ENGINES: dict[str, dict[str, Any]] = {
    OURS: {"name": "native", "precision": "float32"},
    ROUGH: {"name": "native", "precision": "bfloat16"},
    TORCH: {"name": "torch", "num_threads": 1, "matmul_precision": "float32"},
}
"""Our own programs, and the section `engine` of each."""
PEERS = ("stable-baselines3", "sbx")
PEERS_PYTHON = ROOT / ".peers" / "bin" / "python"
PHASES = ("act", "step", "store", "sample", "update")
CORES = sorted(os.sched_getaffinity(0))[:2]
_WARM_STEPS = 350
"""The first 300 are random, without an update; then what is compiled at the first one is compiled."""
_PEAK_S = 0.2


def programs() -> list[str]:
    """Return ours and the peers; without bfloat16 products where the processor has none."""
    return [name for name in (*ENGINES, *PEERS) if name != ROUGH or "bf16" in chosen().name]


def entries() -> list[tuple[str, int]]:
    """Return each program with each of its numbers of cores; the engine `torch` has one thread here."""
    return [(name, count) for name in programs() for count in (1, 2) if (name, count) != (TORCH, 2)]


def environment_for(program: str, threads: int) -> dict[str, str]:
    """Return a program's environment: ours start as the train stage does."""
    variables = os.environ | {"OMP_NUM_THREADS": str(threads), NATIVE_THREADS: str(threads)}
    return fixed_environment(variables) if program in ENGINES else variables


class Contender:
    """A program that trains on request, in a process of its own on cores of its own."""

    def __init__(self, program: str, task: str, cores: list[int], seed: int, folder: Path) -> None:
        if program in ENGINES:
            engine = json.dumps(ENGINES[program])
            words = [sys.executable, ROOT / "benchmarks" / "contender.py", task, str(seed), engine]
        else:
            words = [PEERS_PYTHON, ROOT / "benchmarks" / "peers" / "contender.py", "speed", program, task]
        self.program, self.threads = program, len(cores)
        self._log = folder / f"{program}-{self.threads}-{seed}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=folder,
                env=environment_for(program, self.threads),
                preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - no threads here
            )

    def tell(self, word: str, seconds: float) -> None:
        """Say what to do and for how long."""
        self._process.stdin.write(f"{word} {seconds}\n")
        self._process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Wait until it is done and return its figures."""
        line = self._process.stdout.readline()
        if not line:
            sys.exit(f"{self.program} on {self.threads} cores ended:\n{self._log.read_text()[-2000:]}")
        return json.loads(line)

    def go(self, seconds: float) -> dict[str, Any]:
        """Let it train, while the others wait."""
        self.tell("go", seconds)
        return self.receive()

    def warm_up(self, seconds: float) -> None:
        """Bring it past the random steps and whatever it compiles."""
        steps = 0
        while steps < _WARM_STEPS:
            steps += self.go(seconds)["steps"]

    def close(self) -> None:
        """End it; by force where it does not end by itself."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()


@contextlib.contextmanager
def started(entries: list[tuple[str, list[int]]], task: str, seconds: float) -> Iterator[list[Contender]]:
    """Start programs on cores, the n-th with seed n, warm them up, and end them afterwards."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as stack:
        contenders = []
        for seed, (program, cores) in enumerate(entries):
            contenders.append(Contender(program, task, cores, seed, Path(temporary)))
            stack.callback(contenders[-1].close)
        for contender in contenders:
            contender.warm_up(seconds)
        yield contenders


class Turn(NamedTuple):
    """What one contender did in one round."""

    program: str
    threads: int
    steps_per_s: float
    phases_us: dict[str, float]
    """Ours only: microseconds a step."""
    peak_gflops: dict[str, float]
    """Ours only: the FMA peak of its cores by precision, measured right behind the training."""


def play(contender: Contender, seconds: float) -> Turn:
    """Let one contender train, and ours measure the peak of its cores."""
    found = contender.go(seconds)
    peak_gflops: dict[str, float] = {}
    if contender.program in ENGINES:
        contender.tell("peak", _PEAK_S)
        peak_gflops = contender.receive()
    spent = found.get("phases_s", {})
    phases = {name: spent[name] / found["steps"] * 1e6 for name in PHASES if name in spent}
    speed = found["steps"] / found["seconds"]
    return Turn(contender.program, contender.threads, speed, phases, peak_gflops)


def race(task: str, rounds: int, seconds: float) -> list[list[Turn]]:
    """Return every round's turns."""
    order = np.random.default_rng(0)
    with started([(name, CORES[:count]) for name, count in entries()], task, seconds) as contenders:
        return [
            [play(contenders[index], seconds) for index in order.permutation(len(contenders))]
            for _ in range(rounds)
        ]
