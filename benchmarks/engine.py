"""Training speed beside the peers, where a step's time goes, and how far that is from the arithmetic.

    python benchmarks/engine.py [rounds] [seconds] [part...]

A part is a task, or `two_seeds`; all by default. For each task the programs are started, each on one core
and on two, and stay; only one works at a time. A round gives each so many seconds, in shuffled order.
`two_seeds` compares two seeds of sacpipe on a core each with one of them alone. Each part is written when it
is finished, into benchmarks/engine.json and its part of docs/results.md; the other parts stay as they are.
.peers is built by `make bench`.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from contender import HIDDEN_DIMS, SIZES
from engine_page import page
from race import (
    CORES,
    ENGINES,
    OURS,
    PEERS,
    PEERS_PYTHON,
    PHASES,
    TORCH,
    Contender,
    Turn,
    entries,
    race,
    started,
)
from report import ROOT, provenance, spread, write

from sacpipe.envs import find_task
from sacpipe.specs.env_spec import EnvSpec

TASKS = ("gymnasium/HalfCheetah-v5", "gymnasium/Humanoid-v5", "dm_control/cheetah-run")
TWO_SEEDS = "two_seeds"
PEERS_PACKAGES = ("stable-baselines3", "sbx-rl", "jax", "torch", "mujoco", "gymnasium", "dm_control")

Figures = dict[str, Any]
Speeds = dict[tuple[str, int], list[float]]
"""Steps a second of each round, by program and number of cores."""


def update_flop(spec: EnvSpec, hidden_dims: tuple[int, ...], num_critics: int, batch_size: int) -> int:
    """Count the multiplications and additions of one update's matrix products; biases are left out.

    With W the weights of a network, V those of its first layer, M those of its middle ones (neither
    first nor last), H the first layer's units, A the actions and B the batch, an update makes these
    products, two operations for each weight and row:

        actor forward, at this and the next observations             2B W_actor
        C critics and their targets forward                          2BC W_critic
        critics backward: to all weights, to all hidden units        BC (2 W_critic - V_critic)
        critics forward at new actions                               BC W_critic
        back to these actions, each row through its lowest critic    B (M_critic + A H)
        actor backward                                               B (2 W_actor - V_actor)
    """
    action_dim = spec.action_dim
    actor = _weights([spec.observation_dim, *hidden_dims, 2 * action_dim])
    critic = _weights([spec.observation_dim + action_dim, *hidden_dims, 1])
    of_actor = 4 * sum(actor) - actor[0]
    to_actions = sum(critic[1:-1]) + action_dim * hidden_dims[0]
    of_critic = 5 * sum(critic) - critic[0]
    return 2 * batch_size * (of_actor + num_critics * of_critic + to_actions)


def _weights(sizes: list[int]) -> list[int]:
    return [inputs * outputs for inputs, outputs in itertools.pairwise(sizes)]


def compare(task: str, turns: list[list[Turn]]) -> Figures:
    """Make figures of a race."""
    of = {name: [next(turn for turn in round_ if turn[:2] == name) for round_ in turns] for name in entries()}
    speeds = {name: [turn.steps_per_s for turn in found] for name, found in of.items()}
    flop = count_flop(task)
    return {
        "gflop": flop / 1e9,
        "steps_per_s": {f"{program}, {count}": spread(found) for (program, count), found in speeds.items()},
        "ratios": {str(cores): ratios(speeds, cores) for cores in (1, 2)},
        "inside": {f"{name[0]}, {name[1]}": inside(flop, of[name]) for name in of if name[0] in ENGINES},
    }


def ratios(speeds: Speeds, cores: int) -> Figures:
    """Compare ours with the others round by round, each at its better number of so many cores at most."""
    best: dict[str, list[float]] = {}
    for (program, count), found in speeds.items():
        if count <= cores and statistics.median(found) > statistics.median(best.get(program, [0.0])):
            best[program] = found
    return {
        f"{ours} / {other}": spread(a / b for a, b in zip(best[ours], best[other], strict=True))
        for ours in ENGINES
        for other in (*PEERS, TORCH)
        if ours in best and ours != other
    }


def count_flop(task: str) -> int:
    """Return the operations of one update of a task."""
    environment = find_task(task).make()
    environment.close()
    return update_flop(environment.spec, HIDDEN_DIMS, 2, SIZES["batch_size"])


def inside(flop: int, turns: list[Turn]) -> Figures:
    """Report the parts of a step of ours, and compare its update with its products at the FMA peak."""
    precision = ENGINES[turns[0].program].get("precision", "float32")
    peaks = [turn.peak_gflops[precision] for turn in turns]
    floors = [flop / peak / 1e3 for peak in peaks]
    updates = [turn.phases_us["update"] for turn in turns]
    return {
        "phases_us": {name: spread(turn.phases_us[name] for turn in turns) for name in PHASES},
        "peak_gflops": spread(peaks),
        "floor_us": spread(floors),
        "update_over_floor": spread(update / us for update, us in zip(updates, floors, strict=True)),
    }


def two_seeds(rounds: int, seconds: float) -> Figures:
    """Compare two runs at once, a core and a thread each, with one of them alone."""
    alone, both = [], []
    with started([(OURS, [core]) for core in CORES], TASKS[0], seconds) as pair:
        measures: list[Callable[[], None]] = [
            lambda: alone.append(_total(pair[:1], seconds)),
            lambda: both.append(_total(pair, seconds)),
        ]
        for index in range(rounds):
            for measure in measures if index % 2 else measures[::-1]:
                measure()
    ratios = (two / one for one, two in zip(alone, both, strict=True))
    return {"one_steps_per_s": spread(alone), "two_steps_per_s": spread(both), "ratio": spread(ratios)}


def _total(contenders: list[Contender], seconds: float) -> float:
    """Let some train at once and add up their steps a second."""
    for contender in contenders:
        contender.tell("go", seconds)
    found = [contender.receive() for contender in contenders]
    return sum(row["steps"] / row["seconds"] for row in found)


def peers_versions() -> dict[str, str]:
    """Ask the peers' environment for its versions."""
    script = "import json, sys; from importlib.metadata import version as v; "
    script += "print(json.dumps({name: v(name) for name in sys.argv[1:]}))"
    words = [str(PEERS_PYTHON), "-c", script, *PEERS_PACKAGES]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def kept() -> Figures:
    """Return the finished tasks, without those that other programs were measured on."""
    path = ROOT / "benchmarks" / "engine.json"
    found: Figures = json.loads(path.read_text()) if path.exists() else {}
    names = {f"{program}, {count}" for program, count in entries()}
    tasks = {task: row for task, row in found.get("tasks", {}).items() if row["steps_per_s"].keys() == names}
    two = {TWO_SEEDS: found[TWO_SEEDS]} if "measured" in found.get(TWO_SEEDS, {}) else {}
    return {"tasks": tasks} | two


def main(rounds: int = 5, seconds: float = 4.0, *parts: str) -> None:
    """Measure each part, print and write it."""
    if len(CORES) < 2 or not PEERS_PYTHON.exists():
        sys.exit("Two cores and the peers' environment are needed; `make bench` builds the latter.")
    start = time.perf_counter()
    figures: Figures = {"peers": peers_versions()} | kept()
    for part in parts or (*TASKS, TWO_SEEDS):
        measured = {"measured": provenance(), "rounds": rounds, "seconds": seconds}
        if part == TWO_SEEDS:
            figures[part] = measured | two_seeds(rounds, seconds)
        else:
            figures["tasks"][part] = measured | compare(part, race(part, rounds, seconds))
        packages = ("torch", "numpy", "mujoco", "gymnasium", "dm_control")
        write("engine", packages, figures, "\n".join(page(figures)))
        print(f"{part}: done after {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    words = sys.argv[1:]
    main(*(kind(word) for kind, word in zip((int, float), words, strict=False)), *words[2:])
