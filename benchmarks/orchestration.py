"""What Prefect, DVC and MLflow cost: the same stages bare and under `sacpipe run`, in turn.

    python benchmarks/orchestration.py [rounds] [steps]

Each round copies the project twice, runs the three stages as plain processes in one copy and
`sacpipe run` in the other, and compares wall time and training throughput. Writes
benchmarks/orchestration.json with the machine, versions and commit.
"""

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
STAGES = ("train", "export", "evaluate")


def copy_project(folder: Path, steps: int, seed: int) -> Path:
    """Copy what git tracks, with a short training and without a result."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        if name != "dvc.lock" and not name.startswith("tests/"):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)
    make = [sys.executable, "-m", "pipelines.cli", "params", "gymnasium/InvertedDoublePendulum-v5"]
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
            bare_s.append(sum(run(bare, f"pipelines.stages.{stage}") for stage in STAGES))
            flow_s.append(run(flow, "pipelines.cli", "run"))
            bare_speed.append(throughput(bare))
            flow_speed.append(throughput(flow))
            again_s.append(run(flow, "pipelines.cli", "run"))
            noop_s.append(run(flow, "dvc", "repro"))
    help_s = [run(ROOT, "pipelines.cli", "--help") for _ in range(5)]
    ratios = [with_flow / without for with_flow, without in zip(flow_speed, bare_speed, strict=True)]
    costs = [whole - stages for whole, stages in zip(flow_s, bare_s, strict=True)]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    result = {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit.stdout.strip(),
        "machine": {"processor": processor(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {
            name: version(name) for name in ("torch", "mlflow", "dvc", "prefect", "mujoco", "gymnasium")
        },
        "rounds": rounds,
        "steps": steps,
        "once_a_run_s": {"median": statistics.median(costs), "all": costs},
        "throughput_ratio": {"median": statistics.median(ratios), "all": ratios},
        "steps_per_s_bare": bare_speed,
        "steps_per_s_flow": flow_speed,
        "second_run_s": {"median": statistics.median(again_s), "all": again_s},
        "dvc_repro_noop_s": {"median": statistics.median(noop_s), "all": noop_s},
        "help_s": {"median": statistics.median(help_s), "all": help_s},
    }
    (ROOT / "benchmarks" / "orchestration.json").write_text(json.dumps(result, indent=2) + "\n")
    for name in ("once_a_run_s", "throughput_ratio", "second_run_s", "dvc_repro_noop_s", "help_s"):
        print(
            f"{name:<18} median {result[name]['median']:.3f}  of {[round(x, 3) for x in result[name]['all']]}"
        )


def processor() -> str:
    """Return the processor's name as the system gives it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
