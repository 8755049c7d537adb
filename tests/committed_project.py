"""A project of three small stages in a git repository of its own, whose dvc.lock is computed without DVC."""

import subprocess
from pathlib import Path

from sacpipe.core.files import write_json
from sacpipe.project.stage_key import DiskTree, stage_inputs
from sacpipe.project.workspace import Workspace

GRAPH = """
stages:
  train: {cmd: python train.py, deps: [train.py, own/task.py], params: [seed, task], outs: [out/train]}
  export: {cmd: python export.py, deps: [out/train, export.py], params: [export], outs: [out/export/bundle]}
  evaluate: {cmd: python evaluate.py, deps: [out/export/bundle], params: [seed], metrics: [out/evaluate]}
"""
PARAMS = """
seed: 1
task: {suite: point_mass, id: point-mass-v0, options: {}, metrics: []}
export: {opset: 20}
release: {model_name: reach, mode: enforce, auto: false, rules: []}
"""
OUTPUTS = {"train": "out/train", "export": "out/export/bundle", "evaluate": "out/evaluate"}


def git(root: Path, *arguments: str) -> str:
    options = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(root), *options, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def commit(root: Path) -> str:
    git(root, "add", "--all", ".")
    git(root, "commit", "-q", "-m", "a state")
    return git(root, "rev-parse", "HEAD")


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def run(root: Path, name: str) -> dict:
    """Write the dvc.lock of a run whose outputs have digests of a name, and return its entries."""
    entries, known = {}, {path: f"{name}-{path}" for path in OUTPUTS.values()}
    for stage, path in OUTPUTS.items():
        inputs = stage_inputs(DiskTree(root), stage, elsewhere=known)
        deps = [{"path": dep, "md5": md5} for dep, md5 in inputs.deps.items()]
        outs = [{"path": path, "md5": known[path]}]
        entries[stage] = {"cmd": inputs.cmd, "deps": deps, "params": inputs.params, "outs": outs}
    write_json(root / "dvc.lock", {"schema": "2.0", "stages": entries})
    (root / "results").mkdir(exist_ok=True)
    (root / "results" / "evaluate.json").write_text(f'"{name}"')
    return entries


def make(root: Path) -> Workspace:
    """Write the project and commit it, without a dvc.lock."""
    (root / "own").mkdir(parents=True)
    for name in ("train.py", "export.py", "own/task.py"):
        (root / name).write_text(f"# {name}\n")
    (root / "dvc.yaml").write_text(GRAPH)
    (root / "params.yaml").write_text(PARAMS)
    (root / ".gitignore").write_text("out/\n")
    git(root, "init", "--quiet", "--initial-branch=main")
    commit(root)
    return Workspace(root)
