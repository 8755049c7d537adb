"""The robot's runtime: how long a step takes, guards included, alone and beside a noisy neighbour.

    python benchmarks/runtime.py [STEPS [RATE_HZ]]     100,000 steps at 500 Hz by default; seven minutes

Closed loop: step after step. Open loop: at the control rate, where a step that comes late delays no
other, and caches are cold as on a robot. Then a thousand swaps under a loop of 200 Hz.
"""

import multiprocessing
import os
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from race import CORES
from report import ROOT, paragraph, table, write

from sacpipe.bundle.contract import Provenance
from sacpipe.bundle.guards import find_guard
from sacpipe.bundle.runtime_settings import Envelope
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import Evidence
from sacpipe.networks.policies.squashed_gaussian import SquashedGaussianConfig
from sacpipe.networks.trunks.mlp import MLPConfig
from sacpipe.params.model import Params
from sacpipe.robot.control_loop import BUSY_WAIT_S, LoopReport, Percentiles, no_interpreter_pauses, run_loop
from sacpipe.robot.decision import Decision
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.robot.runtime import Runtime
from sacpipe.specs.env_spec import EnvSpec
from sacpipe.specs.observation import Observation
from sacpipe.specs.terms import ActionTerm, vector_term

SIZES, HIDDEN_DIMS, ACTION_DIM = {"positions": 8, "velocities": 9}, (256, 256), 6
SWAPS, SWAP_RATE_HZ, BLEND_STEPS, MAX_CHANGE = 1_000, 200.0, 2, 0.05
GOALS_US = {"p50": 40.0, "p99": 120.0}
SPEC = EnvSpec(
    task="example/Cheetah-v0",
    observation=tuple(
        vector_term(name, size, unit="mixed", source="simulator") for name, size in SIZES.items()
    ),
    action=tuple(
        ActionTerm(name=f"joint_{index}", unit="N m", low=-1.0, high=1.0) for index in range(ACTION_DIM)
    ),
    control_period_s=1.0 / SWAP_RATE_HZ,
    max_episode_steps=None,
)


def make_bundle(folder: Path, seed: int) -> Path:
    """Export an untrained policy of HalfCheetah's size; a step's time does not depend on its numbers."""
    trunk = MLPConfig(name="mlp", hidden_dims=HIDDEN_DIMS)
    config = SquashedGaussianConfig(trunk=trunk, log_std_bounds=(-20.0, 2.0), normalised_terms=())
    policy = config.build(SPEC)
    policy.reset(torch.Generator().manual_seed(seed))
    rows = np.random.default_rng(seed).standard_normal((512, SPEC.observation_dim), dtype=np.float32)
    evidence = Evidence(
        Observation(SPEC.layout, rows, {}),
        Envelope(
            low={name: (-10.0,) * size for name, size in SIZES.items()},
            high={name: (10.0,) * size for name, size in SIZES.items()},
            longest_constant=dict.fromkeys(SIZES, 1),
        ),
        Provenance(algorithm="sac", digests={}),
    )
    settings = Params.load(ROOT / "params.yaml").runtime
    change = find_guard("action_change").parse(
        {"name": "action_change", "fallback": "limit", "max_change": MAX_CHANGE}
    )
    others = [guard for guard in settings.guards if guard.name != change.name]
    settings = settings.model_copy(update={"guards": (*others, change), "blend_steps": BLEND_STEPS})
    exported = ExportConfig(opset_version=20, parity_tolerance=1e-4, golden_steps=64)
    export_bundle(folder, policy, SPEC, exported, evidence, settings)
    return folder


class Robot:
    """Observations as sensors give them: a new one each step, small changes."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._seen = SPEC.layout.pack({name: np.zeros(size) for name, size in SIZES.items()})
        self.actions: list[np.ndarray] = []

    def observe(self) -> tuple[Observation, int]:
        """Give the next one."""
        vector = self._seen.vector
        vector *= np.float32(0.99)
        vector += np.float32(0.05) * self._random.standard_normal(vector.size, dtype=np.float32)
        return self._seen, time.monotonic_ns()

    def execute(self, decision: Decision) -> bool:
        """Keep what was decided."""
        self.actions.append(decision.action)
        return True


def closed_loop(folder: Path, steps: int) -> Percentiles:
    """Make step after step."""
    runtime, robot = Runtime(OnnxPolicy(folder)), Robot()
    times = np.zeros(steps, dtype=np.int64)
    with no_interpreter_pauses():
        for index in range(steps):
            times[index] = runtime.step(*robot.observe()).timings.step_ns
    return Percentiles.of(times)


def open_loop(folder: Path, steps: int, rate_hz: float) -> LoopReport:
    """Make a step a control period."""
    runtime = Runtime(OnnxPolicy(folder), control_period_s=1.0 / rate_hz)
    return run_loop(runtime, Robot(), period_s=1.0 / rate_hz, max_steps=steps)


def swaps(first: Path, second: Path) -> dict[str, Any]:
    """Swap policies from another thread under a loop; say how far an action jumped, and what was missed."""
    runtime, robot = Runtime(OnnxPolicy(first)), Robot()
    policies = [OnnxPolicy(second), OnnxPolicy(first)]
    done = threading.Event()
    made = 0

    def swap() -> None:
        nonlocal made
        while made < SWAPS and not done.wait(4.0 / SWAP_RATE_HZ):
            runtime.swap(policies[made % 2])
            made += 1

    thread = threading.Thread(target=swap)
    thread.start()
    steps = 4 * SWAPS + 400
    report = run_loop(runtime, robot, period_s=1.0 / SWAP_RATE_HZ, max_steps=steps)
    done.set()
    thread.join()
    jumps = np.abs(np.diff(np.array(robot.actions, dtype=np.float64), axis=0)).max(axis=1)
    span = 2.0
    return {"swaps": made, "largest_jump": float(jumps.max() / span), "loop": report.as_tree()}


def neighbour(core: int) -> None:
    """Walk through more memory than the caches hold, without end."""
    os.sched_setaffinity(0, {core})
    memory = np.ones(16 << 20)
    while True:
        memory += 1.0


def main(steps: int = 100_000, rate_hz: float = 500.0) -> None:
    """Measure, print and write."""
    os.sched_setaffinity(0, set(CORES))
    figures: dict[str, Any] = {"steps": steps, "rate_hz": rate_hz, "loads": {}}
    with tempfile.TemporaryDirectory() as temporary:
        first, second = (make_bundle(Path(temporary) / str(seed), seed) for seed in (1, 2))
        noisy = multiprocessing.get_context("spawn").Process(target=neighbour, args=(CORES[-1],), daemon=True)
        for load in ("idle", "one noisy neighbour"):
            if load != "idle":
                noisy.start()
            figures["loads"][load] = {
                "closed": closed_loop(first, steps).as_tree(),
                "open": open_loop(first, steps, rate_hz).as_tree(),
            }
            print(f"{load}: done", flush=True)
        noisy.kill()
        noisy.join()
        figures["swap"] = swaps(first, second)
    write("runtime", ["onnxruntime", "numpy"], figures, "\n".join(page(figures)))


def page(figures: dict[str, Any]) -> list[str]:
    """Say the figures to people."""
    rows = []
    for load, found in figures["loads"].items():
        rows.append([load, "closed", *_numbers(found["closed"]), ""])
        rows.append([load, "open", *_numbers(found["open"]["step_us"]), str(found["open"]["missed"])])
    swap, goals = figures["swap"], ", ".join(f"{name} {goal:g} us" for name, goal in GOALS_US.items())
    return [
        paragraph(f"""
            A step of the robot's runtime with all guards, 17-256-256-6, in process, garbage collection off,
            ordinary scheduling: {figures["steps"]:,} steps each, closed loop (one after the other) and open
            loop ({figures["rate_hz"]:g} Hz, awake {BUSY_WAIT_S * 1e3:g} ms before a step is due).
            Goals: {goals}. Microseconds."""),
        table(["load", "loop", "p50", "p99", "p99.9", "largest", "deadlines missed"], rows),
        paragraph(f"""
            {swap["swaps"]:,} swaps of two unlike policies under a loop of {SWAP_RATE_HZ:g} Hz, a blend of
            {BLEND_STEPS} steps and a limit of {MAX_CHANGE:g} of the range a step: the largest change between
            two actions was {swap["largest_jump"]:.4f} of the range, {swap["loop"]["missed"]} deadlines were
            missed; verdicts {swap["loop"]["verdicts"]}."""),
    ]


def _numbers(spread: dict[str, float]) -> list[str]:
    return [f"{spread[name]:.1f}" for name in ("p50", "p99", "p999", "largest")]


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False)))
