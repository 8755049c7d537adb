"""What a run takes, and what Prefect, DVC and MLflow cost: the same stages bare and under `sacpipe run`.

    python benchmarks/orchestration.py [rounds] [steps]

Each round copies the project three times. In one copy it runs the three stages as plain processes and in
another `sacpipe run`, both with so many steps, and compares wall time and training throughput. In the third
it starts the train stage up to its first update, and then `make run` with params.yaml as it is, twice, with
the environment and the kernels installed before. Writes benchmarks/orchestration.json and its part of
docs/results.md.
"""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from report import ROOT, paragraph, spread, table, write

STAGES = ("train", "export", "evaluate")
FIGURES: dict[str, tuple[str, Callable[[float], str]]] = {
    "make_run_s": ("`make run` after the installation, everything fresh", "{:.1f} s".format),
    "first_update_s": ("first update after the start of the training process", "{:.1f} s".format),
    "make_run_again_s": ("`make run` with nothing to do", "{:.1f} s".format),
    "once_a_run_s": ("Prefect, DVC and MLflow together, once a run, everything fresh", "{:.1f} s".format),
    "throughput_ratio": ("training throughput under the flow / bare", "{:.3f}".format),
    "second_run_s": ("`sacpipe run` with nothing to do", "{:.1f} s".format),
    "dvc_repro_noop_s": ("`dvc repro` with nothing to do", "{:.1f} s".format),
    "help_s": ("`sacpipe --help`", "{:.2f} s".format),
}
PACKAGES = ("torch", "mlflow", "dvc", "prefect", "mujoco", "gymnasium")


def copy_project(folder: Path) -> Path:
    """Copy what git tracks, without a result."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name != "dvc.lock" and not name.startswith("tests/"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def shorten(folder: Path, steps: int, seed: int) -> Path:
    """Give a copy a short training."""
    make = [sys.executable, "-m", "sacpipe.cli.main", "params", "gymnasium/InvertedDoublePendulum-v5"]
    subprocess.run(
        [*make, "--steps", str(steps), "--seed", str(seed), "--output", "params.yaml"], cwd=folder, check=True
    )
    return folder


def run(folder: Path, *arguments: str) -> float:
    """Run a module with this interpreter and return its wall time in seconds."""
    return timed(folder, [sys.executable, "-m", *arguments], allowed=(0, 1))  # 1: the gate refuses it


def timed(folder: Path, command: list[str], allowed: tuple[int, ...] = (0,)) -> float:
    """Run a command in a copy, with the modules of the copy, and return its wall time in seconds."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(folder)}
    start = time.perf_counter()
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if result.returncode not in allowed:
        sys.exit(f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}{result.stderr}")
    return time.perf_counter() - start


def make_run(folder: Path) -> float:
    """Time `make run` in a copy with this environment, which make takes as installed."""
    venv = Path(sys.executable).parents[1]
    return timed(folder, ["make", "run", f"VENV={venv}", f"--old-file={venv / '.ready'}"])


def throughput(folder: Path) -> float:
    """Return the median of steps per second over the logged intervals with updates."""
    rows = [
        json.loads(line) for line in next(folder.glob("work/*/throughput.jsonl")).read_text().splitlines()
    ]
    return statistics.median(row["steps_per_s"] for row in rows[len(rows) // 5 :])


def main(rounds: int = 5, steps: int = 3000) -> None:
    """Measure, print and write."""
    bare_s, flow_s, bare_speed, flow_speed, again_s, noop_s = [], [], [], [], [], []
    make_s, first_s, make_again_s = [], [], []
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as temporary:
            bare = shorten(copy_project(Path(temporary) / "bare"), steps, seed)
            flow = shorten(copy_project(Path(temporary) / "flow"), steps, seed)
            whole = copy_project(Path(temporary) / "whole")
            bare_s.append(sum(run(bare, f"pipelines.stages.{stage}") for stage in STAGES))
            flow_s.append(run(flow, "sacpipe.cli.main", "run"))
            bare_speed.append(throughput(bare))
            flow_speed.append(throughput(flow))
            again_s.append(run(flow, "sacpipe.cli.main", "run"))
            noop_s.append(run(flow, "dvc", "repro"))
            first_s.append(timed(whole, [sys.executable, str(ROOT / "benchmarks" / "until_update.py")]))
            shutil.rmtree(whole / "work", ignore_errors=True)
            make_s.append(make_run(whole))
            make_again_s.append(make_run(whole))
        print(f"round {seed + 1}: make run {make_s[-1]:.1f} s", flush=True)
    help_s = [run(ROOT, "sacpipe.cli.main", "--help") for _ in range(5)]
    ratios = [with_flow / without for with_flow, without in zip(flow_speed, bare_speed, strict=True)]
    costs = [whole_s - stages for whole_s, stages in zip(flow_s, bare_s, strict=True)]
    found = (make_s, first_s, make_again_s, costs, ratios, again_s, noop_s, help_s)
    rows = dict(zip(FIGURES, map(spread, found), strict=True))
    speeds = {"steps_per_s_bare": bare_speed, "steps_per_s_flow": flow_speed}
    figures = {"rounds": rounds, "steps": steps} | rows | speeds
    write("orchestration", PACKAGES, figures, page(rounds, steps, rows))


def page(rounds: int, steps: int, rows: dict[str, dict]) -> str:
    """Say the figures to people."""
    head = paragraph(f"""
        `make run` and its training process are of the committed params.yaml. The rest is of the default task
        for {steps:,} steps, stages as plain processes and under `sacpipe run` in turn, from fresh folders.
        Rounds: {rounds}; those of {steps:,} steps have a seed each.""")
    lines = []
    for name, (what, show) in FIGURES.items():
        lines.append([what, show(rows[name]["median"]), ", ".join(map(show, rows[name]["rounds"]))])
    return head + "\n" + table(["what", "median", "rounds"], lines)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
