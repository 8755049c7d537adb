"""Training speed beside the peers, where a step's time goes, and how far that is from the arithmetic.

    python benchmarks/engine.py [rounds] [seconds]

For each task six contenders are started, each program on one core and on two, and stay; only one works
at a time. A round gives every contender so many seconds, in shuffled order. A program is measured at
its better number of threads. Then two seeds of sacpipe on a core each against one of them alone.
Writes benchmarks/engine.json and its part of docs/results.md; .peers is built by `make bench`.
"""

import itertools
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from contender import HIDDEN_DIMS, SIZES
from race import CORES, OURS, PEERS, PEERS_PYTHON, PHASES, PRECISIONS, ROUGH, Contender, Turn, race, started
from report import paragraph, shown, spread, table, write

from sacpipe.envs import find_task
from sacpipe.specs.env_spec import EnvSpec

TASKS = ("gymnasium/HalfCheetah-v5", "gymnasium/Humanoid-v5", "dm_control/cheetah-run")
PEERS_PACKAGES = ("stable-baselines3", "sbx-rl", "jax", "torch", "mujoco", "gymnasium", "dm_control")

Figures = dict[str, Any]


def update_flop(spec: EnvSpec, hidden_dims: tuple[int, ...], num_critics: int, batch_size: int) -> int:
    """Count the multiplications and additions of one update's matrix products; biases are left out.

    With W the weights of a network, V those of its first layer, M those of its middle ones (neither
    first nor last), H the first layer's units, A the actions and B the batch, an update makes these
    products, two operations for each weight and row:

        actor forward, at this and the next observations             2B W_actor
        C critics and their targets forward                          2BC W_critic
        critics backward: to all weights, to all hidden units        BC (2 W_critic - V_critic)
        critics forward at new actions                               BC W_critic
        back from them to these actions                              BC (M_critic + A H)
        actor backward                                               B (2 W_actor - V_actor)
    """
    action_dim = spec.action_dim
    actor = _weights([spec.observation_dim, *hidden_dims, 2 * action_dim])
    critic = _weights([spec.observation_dim + action_dim, *hidden_dims, 1])
    of_actor = 4 * sum(actor) - actor[0]
    to_actions = sum(critic[1:-1]) + action_dim * hidden_dims[0]
    of_critic = 5 * sum(critic) - critic[0] + to_actions
    return 2 * batch_size * (of_actor + num_critics * of_critic)


def _weights(sizes: list[int]) -> list[int]:
    return [inputs * outputs for inputs, outputs in itertools.pairwise(sizes)]


def compare(task: str, turns: list[list[Turn]]) -> Figures:
    """Make figures of a race."""
    programs = (*PRECISIONS, *PEERS)
    names = [(program, threads) for program in programs for threads in (1, 2)]
    of = {name: [next(turn for turn in played if turn[:2] == name) for played in turns] for name in names}
    speeds = {name: [turn.steps_per_s for turn in found] for name, found in of.items()}
    ranked = sorted(names, key=lambda name: statistics.median(speeds[name]))
    best = dict(ranked)  # of a program's two entries the faster one comes last and stays
    fastest = {program: speeds[program, best[program]] for program in programs}
    return {
        "steps_per_s": {f"{program}, {count}": spread(speeds[program, count]) for program, count in names},
        "best_threads": best,
        "ratios": {
            f"{ours} / {peer}": spread(a / b for a, b in zip(fastest[ours], fastest[peer], strict=True))
            for ours in PRECISIONS
            for peer in PEERS
        },
        "inside": {ours: inside(task, of[ours, best[ours]]) for ours in PRECISIONS},
    }


def inside(task: str, turns: list[Turn]) -> Figures:
    """Say where a step of one of ours goes."""
    phases = {name: spread(turn.phases_us[name] for turn in turns) for name in PHASES}
    return {"phases_us": phases} | floor(task, turns)


def floor(task: str, turns: list[Turn]) -> Figures:
    """Compare the update's time with that of its products alone at the speed measured in the same round."""
    environment = find_task(task).make()
    flop = update_flop(environment.spec, HIDDEN_DIMS, 2, SIZES["batch_size"])
    environment.close()
    floors = [flop / turn.gflop_per_s / 1e3 for turn in turns]
    updates = [turn.phases_us["update"] for turn in turns]
    return {
        "gflop": flop / 1e9,
        "gflop_per_s": spread(turn.gflop_per_s for turn in turns),
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
    found = [contender.hear() for contender in contenders]
    return sum(row["steps"] / row["seconds"] for row in found)


def peers_versions() -> dict[str, str]:
    """Ask the peers' environment for its versions."""
    script = "import json, sys; from importlib.metadata import version as v; "
    script += "print(json.dumps({name: v(name) for name in sys.argv[1:]}))"
    words = [str(PEERS_PYTHON), "-c", script, *PEERS_PACKAGES]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def page(figures: Figures) -> list[str]:
    """Say the figures to people."""
    theirs = ", ".join(f"{name} {number}" for name, number in figures["peers"].items())
    tasks = figures["tasks"]
    speed_head = ["task", *PRECISIONS, *PEERS]
    ratio_head = ["task", *(f"{ours} / {peer}" for ours in PRECISIONS for peer in PEERS)]
    floor_head = ["task", "program", "GFLOP an update", "GFLOP/s", "floor, us", "update / floor"]
    return [
        paragraph(f"Peers, in an environment of their own: {theirs}."),
        paragraph(f"""
            Two hidden layers of 256 units, batch 256, one update a step, end to end (act, step, store,
            sample, update); all in float32, but for the products of {ROUGH}. Rounds: {figures["rounds"]},
            in each {figures["seconds"]:g} s for every program on one core and on two, one at a time, in
            shuffled order. Steps/s with 1 / 2 threads, medians. Ratios compare both programs at their
            better number of threads within a round: median (lowest to highest)."""),
        table(speed_head, map(_speed_row, tasks.items())),
        table(ratio_head, map(_ratio_row, tasks.items())),
        paragraph("Where a step of ours goes at its better number of threads, in microseconds, medians:"),
        table(["task", "program", "threads", *PHASES], _phase_rows(tasks)),
        paragraph("""
            The update beside the arithmetic it cannot do without: its matrix products at the speed that
            products of four 256x256 matrices reach in the same round."""),
        table(floor_head, _floor_rows(tasks)),
        paragraph(
            f"Two seeds of {TASKS[0]} at once, one core and one thread each, beside one of them alone:"
        ),
        _seeds_table(figures["two_seeds"]),
    ]


def _speed_row(entry: tuple[str, Figures]) -> list[str]:
    task, found = entry
    speeds = [
        " / ".join(f"{found['steps_per_s'][f'{program}, {count}']['median']:.0f}" for count in (1, 2))
        for program in (*PRECISIONS, *PEERS)
    ]
    return [task, *speeds]


def _ratio_row(entry: tuple[str, Figures]) -> list[str]:
    task, found = entry
    return [task, *map(shown, found["ratios"].values())]


def _phase_rows(tasks: Figures) -> Iterator[list[str]]:
    for task, found in tasks.items():
        for program, part in found["inside"].items():
            phases = [f"{part['phases_us'][name]['median']:,.0f}" for name in PHASES]
            yield [task, program, str(found["best_threads"][program]), *phases]


def _floor_rows(tasks: Figures) -> Iterator[list[str]]:
    for task, found in tasks.items():
        for program, part in found["inside"].items():
            speed, least = (f"{part[name]['median']:,.0f}" for name in ("gflop_per_s", "floor_us"))
            yield [task, program, f"{part['gflop']:.3f}", speed, least, shown(part["update_over_floor"])]


def _seeds_table(found: Figures) -> str:
    one, two = (f"{found[name]['median']:.0f}" for name in ("one_steps_per_s", "two_steps_per_s"))
    head = ["one, steps/s", "two, steps/s together", "two / one"]
    return table(head, [[one, two, shown(found["ratio"])]])


def main(rounds: int = 5, seconds: float = 4.0) -> None:
    """Measure, print and write."""
    if len(CORES) < 2 or not PEERS_PYTHON.exists():
        sys.exit("Two cores and the peers' environment are needed; `make bench` builds the latter.")
    start = time.perf_counter()
    figures: Figures = {"rounds": rounds, "seconds": seconds, "peers": peers_versions(), "tasks": {}}
    for task in TASKS:
        figures["tasks"][task] = compare(task, race(task, rounds, seconds))
        print(f"{task}: done after {time.perf_counter() - start:.0f} s", flush=True)
    figures["two_seeds"] = two_seeds(rounds, seconds)
    write(
        "engine", ("torch", "numpy", "mujoco", "gymnasium", "dm_control"), figures, "\n".join(page(figures))
    )


if __name__ == "__main__":
    main(*(kind(word) for kind, word in zip((int, float), sys.argv[1:], strict=False)))
