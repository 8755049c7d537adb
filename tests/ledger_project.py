"""A project of the three stages with a hand-made policy, and the calls with which tests record it."""

import os
import subprocess
import sys
from pathlib import Path

from repository import ROOT

from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.tracking.ledger import record_stage, register_bundle
from sacpipe.tracking.mlflow.ledger import MlflowLedger

GRAPH = """
stages:
  train:
    cmd: python stages.py train
    deps: [stages.py, code]
    params: [seed, training]
    outs: [out/train/policy.safetensors, out/train/pool, out/train/metrics.jsonl]
    metrics: [out/train/metrics.json]
  export:
    cmd: python stages.py export
    deps: [out/train/policy.safetensors, out/train/pool, stages.py]
    params: [export]
    outs: [out/export/bundle]
    metrics: [out/export/metrics.json]
  evaluate:
    cmd: python stages.py evaluate
    deps: [out/export/bundle, out/train/policy.safetensors, stages.py]
    params: [seed]
    metrics: [out/evaluate/metrics.json]
"""

PARAMS = "seed: 1\ntraining: {total_steps: 40, tau: 5.0e-3, sizes: [1, 2]}\nexport: {opset: 20}\nunread: 1\n"

SCRIPT = """
import hashlib, json, pathlib, sys

name, out = sys.argv[1], pathlib.Path("out") / sys.argv[1]
seed = int(pathlib.Path("params.yaml").read_text().split("seed: ")[1].split()[0])
out.mkdir(parents=True, exist_ok=True)
if name == "train":
    (out / "pool").mkdir()
    (out / "pool" / "segment").write_text(f"segment {seed}")
    (out / "policy.safetensors").write_text(f"policy {seed}")
    rows = [{"env_steps": 10 * n, "gradient_steps": n, "critic/loss": n * seed / 4} for n in range(5)]
    (out / "metrics.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
    metrics = {"env_steps": 40, "return_mean_deterministic": 2.5}
if name == "export":
    from factories import make_bundle, make_onnx, make_spec
    policy = hashlib.sha256(pathlib.Path("out/train/policy.safetensors").read_bytes()).hexdigest()
    provenance = {"algorithm": "sac", "digests": {"policy": policy}}
    model, spec = make_onnx([[seed / 8], [0]]), make_spec(2, [(-1.0, 1.0)])
    make_bundle(out / "bundle", model, spec, [[1, 5]], [[seed / 8]], provenance=provenance)
    metrics = {"parity_max_error": 0.0, "bundle_digest": "text"}
if name == "evaluate":
    metrics = {"bundle": {"return_mean": 3.5, "episodes": 20}, "deterministic": {"return_mean": 3.25}}
(out / "metrics.json").write_text(json.dumps(metrics))
"""
LOSSES = [(0, 0.0), (10, 0.25), (20, 0.5), (30, 0.75), (40, 1.0)]


def git(root: Path, *arguments: str) -> str:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path) -> str:
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "a state")
    return git(root, "rev-parse", "HEAD")


def repro(root: Path) -> None:
    dvc = Path(sys.executable).with_name("dvc")
    project = ROOT
    path = f"{dvc.parent}{os.pathsep}{os.environ['PATH']}"
    variables = {
        **os.environ,
        "DVC_NO_ANALYTICS": "1",
        "PATH": path,
        "PYTHONPATH": f"{project}:{project / 'tests'}",
    }
    result = subprocess.run(
        [dvc, "repro"], cwd=root, env=variables, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def record_all(workspace: Workspace, ledger: MlflowLedger) -> list[str]:
    return [record_stage(workspace, ledger, stage, Outcome.RAN) for stage in STAGES]


def release(workspace: Workspace, ledger: MlflowLedger, name: str) -> dict[str, str]:
    """Register the bundle and make it champion; return the champions as the release history names them."""
    version = register_bundle(workspace, ledger, name)
    ledger.registry.set_alias(name, "champion", version.version)
    return {name: version.bundle_digest}


def flip(path: Path) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(bytes(data))


def history(ledger: MlflowLedger, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in ledger._store.client.get_metric_history(run_id, name)]
