"""What Prefect, DVC and MLflow cost: the same stages bare and under `sacpipe run`, in turn.

    python benchmarks/orchestration.py [rounds] [steps]

Each round copies the project twice, runs the three stages as plain processes in one copy and
`sacpipe run` in the other, and compares wall time and training throughput. Writes
benchmarks/orchestration.json and its part of docs/results.md.
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
    "once_a_run_s": ("Prefect, DVC and MLflow together, once a run, everything fresh", "{:.1f} s".format),
    "throughput_ratio": ("training throughput under the flow / bare", "{:.3f}".format),
    "second_run_s": ("`sacpipe run` with nothing to do", "{:.1f} s".format),
    "dvc_repro_noop_s": ("`dvc repro` with nothing to do", "{:.1f} s".format),
    "help_s": ("`sacpipe --help`", "{:.2f} s".format),
}
PACKAGES = ("torch", "mlflow", "dvc", "prefect", "mujoco", "gymnasium")


def copy_project(folder: Path, steps: int, seed: int) -> Path:
    """Copy what git tracks, with a short training and without a result."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name != "dvc.lock" and not name.startswith("tests/"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    make = [sys.executable, "-m", "sacpipe.cli.main", "params", "gymnasium/InvertedDoublePendulum-v5"]
    subprocess.run(
        [*make, "--steps", str(steps), "--seed", str(seed), "--output", "params.yaml"], cwd=folder, check=True
    )
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    return folder


def run(folder: Path, *arguments: str) -> float:
    """Run a module with this interpreter and return its wall time in seconds."""
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    if result.returncode not in (0, 1):  # 1: a short training is refused by the gate
        sys.exit(result.stderr)
    return time.perf_counter() - start


def throughput(folder: Path) -> float:
    """Return the median of steps per second over the logged intervals with updates."""
    rows = [
        json.loads(line) for line in next(folder.glob("work/*/throughput.jsonl")).read_text().splitlines()
    ]
    return statistics.median(row["steps_per_s"] for row in rows[len(rows) // 5 :])


def main(rounds: int = 5, steps: int = 3000) -> None:
    """Measure, print and write."""
    bare_s, flow_s, bare_speed, flow_speed, again_s, noop_s = [], [], [], [], [], []
    for seed in range(rounds):
        with tempfile.TemporaryDirectory() as temporary:
            bare = copy_project(Path(temporary) / "bare", steps, seed)
            flow = copy_project(Path(temporary) / "flow", steps, seed)
            bare_s.append(sum(run(bare, f"sacpipe.project.stage.{stage}") for stage in STAGES))
            flow_s.append(run(flow, "sacpipe.cli.main", "run"))
            bare_speed.append(throughput(bare))
            flow_speed.append(throughput(flow))
            again_s.append(run(flow, "sacpipe.cli.main", "run"))
            noop_s.append(run(flow, "dvc", "repro"))
    help_s = [run(ROOT, "sacpipe.cli.main", "--help") for _ in range(5)]
    ratios = [with_flow / without for with_flow, without in zip(flow_speed, bare_speed, strict=True)]
    costs = [whole - stages for whole, stages in zip(flow_s, bare_s, strict=True)]
    rows = dict(zip(FIGURES, map(spread, (costs, ratios, again_s, noop_s, help_s)), strict=True))
    speeds = {"steps_per_s_bare": bare_speed, "steps_per_s_flow": flow_speed}
    figures = {"rounds": rounds, "steps": steps} | rows | speeds
    write("orchestration", PACKAGES, figures, page(rounds, steps, rows))


def page(rounds: int, steps: int, rows: dict[str, dict]) -> str:
    """Say the figures to people."""
    head = paragraph(f"""
        The default task for {steps:,} steps, stages as plain processes and under `sacpipe run` in turn, from
        fresh folders. Rounds: {rounds}, each with another seed.""")
    lines = []
    for name, (what, show) in FIGURES.items():
        lines.append([what, show(rows[name]["median"]), ", ".join(map(show, rows[name]["rounds"]))])
    return head + "\n" + table(["what", "median", "rounds"], lines)


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
