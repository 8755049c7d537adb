"""A toy project of the three stages that runs in a second, and the edits that tests make in it."""

import subprocess
import sys

from small_project import environment, git

from sacpipe.core.files import sha256_file

GRAPH = """
stages:
  train:
    cmd: python -m pipelines.stages.train
    deps: [pipelines/stages/train.py]
    params: [seed, training]
    outs: [out/train/policy.safetensors, out/train/pool]
    metrics: [out/train/metrics.json]
  export:
    cmd: python -m pipelines.stages.export
    deps: [out/train/policy.safetensors, pipelines/stages/export.py]
    outs: [out/export/bundle]
  evaluate:
    cmd: python -m pipelines.stages.evaluate
    deps: [out/train/policy.safetensors, pipelines/stages/evaluate.py]
    params: [evaluation]
    plots: [{results/episodes.csv: {cache: false}}]
"""
PARAMS = """
seed: 1
training: {extends: null}
evaluation: {episodes: 8, bootstrap_resamples: 500, confidence: 0.95, video: null}
"""
TRAIN = """
import os
from pathlib import Path

policy, tier = "gain 1", "exact"
Path("out/train/pool").mkdir(parents=True)
Path("out/train/policy.safetensors").write_text(policy)
Path("out/train/pool/segment").write_text("always the same")
Path("out/train/metrics.json").write_text('{"determinism": "' + tier + '"}')
"""
EXPORT = """
from pathlib import Path

Path("out/export/bundle").mkdir(parents=True)
Path("out/export/bundle/policy.onnx").write_text(Path("out/train/policy.safetensors").read_text())
"""
EVALUATE = """
from pathlib import Path

Path("results").mkdir(exist_ok=True)
rows = [f"deterministic,{n},{n},{float(n)},5,false,true" for n in range(8)]
header = "policy,episode,seed,return,length,terminated,truncated"
Path("results/episodes.csv").write_text("\\n".join([header, *rows]) + "\\n")
"""


def make_toy(root):
    """Write the project, run its graph and commit the result; return the folder."""
    for name, text in {
        ".dvc/config": f"[core]\n analytics = false\n[cache]\n dir = {root / '.dvc' / 'cache'}\n",
        ".dvcignore": "__pycache__/\n",
        ".gitignore": "out/\nwork/\n__pycache__/\n.dvc/cache\n.dvc/tmp\n",
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
        "versions.lock": "{}",
        "pipelines/__init__.py": "",
        "pipelines/stages/__init__.py": "",
        "pipelines/stages/train.py": TRAIN,
        "pipelines/stages/export.py": EXPORT,
        "pipelines/stages/evaluate.py": EVALUATE,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    git(root, "init", "--quiet", "--initial-branch=main")
    command = [sys.executable, "-P", "-m", "dvc", "repro", "--quiet"]
    subprocess.run(command, cwd=root, check=True, env=environment())
    commit(root)
    return root


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "next")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def snapshot(folder, *parts):
    """Return the time of change and the SHA-256 of every file."""
    files = [path for part in parts or [""] for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, sha256_file(path)) for path in files
    }


def left(scratch):
    """Return the temporary workspaces; torch leaves folders of its own beside them."""
    return list(scratch.glob("sacpipe-*"))
