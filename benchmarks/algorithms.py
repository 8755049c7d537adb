"""Every algorithm on its tasks: one table of what is measured, by whichever benchmark measured it.

    python benchmarks/algorithms.py run NAME SEED   train one of OWN below, and add its row to algorithms.json
    python benchmarks/algorithms.py take FILE       add the end of a curve, curve.json of `learning.py one`
    python benchmarks/algorithms.py missing         a command for each seed of 1 to 3 that is not measured
    python benchmarks/algorithms.py draw            the table, in docs/results.md

A figure is a mean of deterministic episodes at the end of a run unless the table says otherwise.
"""

import json
import sys
from pathlib import Path

import rows
from algorithm_results import LISTED, SEEDS, ZOO, Result, goals, kept, levels, tuned
from report import table, today, write
from ruamel.yaml import YAML

from sacpipe.params.defaults import params_text

PENDULUM, REACH = "gymnasium/Pendulum-v1", "softlearning/Point2DEnv-Default-v0"
EPISODES = 20
OWN = {
    f"{algorithm}-{task.partition('/')[2]}": (algorithm, task, steps)
    for algorithm, task, steps in [
        ("td3", PENDULUM, 10_000),
        ("tqc", PENDULUM, 10_000),
        ("lsp", PENDULUM, 10_000),
        ("sql", PENDULUM, 10_000),
        ("sac", REACH, 10_000),
    ]
}
"""Algorithm, task and steps of the runs that no other benchmark makes, with the values of new params."""


def run(name: str, seed: int) -> None:
    """Train, evaluate, and add a row."""
    algorithm, task, steps = OWN[name]
    tree = YAML(typ="safe").load(params_text(task, steps=steps, seed=seed, algorithm=algorithm))
    episodes, minutes = rows.train(tree, EPISODES)
    row = {
        "name": name,
        "seed": seed,
        "steps": steps,
        "figure": sum(episode.episode_return for episode in episodes) / len(episodes),
        "minutes": minutes,
        "date": today(),
    }
    rows.add("algorithms", ("name", "seed", "steps"), row)


def take(file: Path) -> None:
    """Add the last point of one finished curve, `curve.json` of `learning.py one`."""
    curve = json.loads(file.read_text())
    params, last = curve["params"], curve["points"][-1]
    algorithm = params["algorithm"]["name"]
    program = "sacpipe" if algorithm == "sac" else f"sacpipe-{algorithm}"
    row = {
        "name": f"{program} {params['task']['suite']}/{params['task']['id']}",
        "seed": params["seed"],
        "steps": last["env_steps"],
        "figure": last["return_mean"],
        "minutes": last["seconds"] / 60,
        "date": today(),
    }
    rows.add("algorithms", ("name", "seed", "steps"), row)


def own_results() -> list[Result]:
    """Return what the runs of this file found."""
    return [
        Result(
            algorithm.upper(),
            task,
            steps,
            kept(name, steps),
            f"python benchmarks/algorithms.py run {name} SEED",
            published=ZOO.get(task, ""),
        )
        for name, (algorithm, task, steps) in OWN.items()
    ]


def results() -> list[Result]:
    """Return every line of the table."""
    return [*(one() for one in LISTED), *levels(), *tuned(), *goals(), *own_results()]


def missing() -> list[str]:
    """Return the commands of seeds that nothing has measured."""
    return [
        found.command.replace("SEED", str(seed))
        for found in results()
        for seed in SEEDS
        if seed not in found.figures
    ]


def draw() -> None:
    """Write the table."""
    head = ("algorithm", "task", "steps", "figure", "mean", "seeds", "published", "command")
    found = [one.cells() for one in results()]
    write(
        "algorithms", ["torch", "gymnasium", "numpy"], {"rows": rows.read("algorithms")}, table(head, found)
    )


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["run", name, seed] if name in OWN:
            run(name, int(seed))
        case ["take", file]:
            take(Path(file))
        case ["missing"]:
            sys.stdout.write("".join(f"{line}\n" for line in dict.fromkeys(missing())))
        case ["draw"]:
            draw()
        case _:
            sys.exit(f"{__doc__}\nNAME is one of {', '.join(OWN)}.")
