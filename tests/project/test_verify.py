"""What a commit says it gives, it gives again elsewhere, or the command says which output it does not.

One test runs the real graph; the others a toy graph of the same three stages, whose `pipelines` package is
not the installed one: only the commit's own code can make its outputs.
"""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from factories import make_point_mass
from folder_digest import sha256_tree
from small_project import environment, git

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.evaluation.config import EvaluationConfig
from sacpipe.project.dvc.store import read_lock
from sacpipe.project.rerun import rerun
from sacpipe.project.terminal import termination_as_interrupt
from sacpipe.project.verify import compare_locks, compare_returns, is_same, is_statistical
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.replay.pool.config import ReplayConfig
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.records import Transition

EVALUATION = EvaluationConfig.parse(
    {"episodes": 8, "bootstrap_resamples": 500, "confidence": 0.95, "video": None}
)
KEY = "0123456789abcdef" * 4
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
    outs: [out/evaluate/episodes.csv]
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

Path("out/evaluate").mkdir(parents=True)
rows = [f"deterministic,{n},{n},{float(n)},5,false,true" for n in range(8)]
header = "policy,episode,seed,return,length,terminated,truncated"
Path("out/evaluate/episodes.csv").write_text("\\n".join([header, *rows]) + "\\n")
"""


def commit(folder):
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "next")


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def snapshot(folder, *parts):
    """Every file's bytes and time of change."""
    files = [path for part in parts or [""] for path in sorted((folder / part).rglob("*")) if path.is_file()]
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, sha256_file(path)) for path in files
    }


def left(scratch):
    """The temporary workspaces that are there; torch leaves folders of its own beside them."""
    return list(scratch.glob("sacpipe-*"))


def rows(seen):
    """The table without its heading and its last line: output -> mark."""
    lines = [re.split(r"  +", line) for line in seen.out.splitlines()]
    return {line[1]: line[4] for line in lines if line[0] in STAGES}


@pytest.fixture(scope="module")
def committed_toy(tmp_path_factory):
    """A toy project with a committed result; its commit names its cache by absolute path."""
    root = tmp_path_factory.mktemp("toy") / "project"
    for name, text in {
        ".dvc/config": f"[core]\n analytics = false\n[cache]\n dir = {root / '.dvc' / 'cache'}\n",
        ".dvcignore": "__pycache__/\n",
        ".gitignore": "out/\nwork/\n__pycache__/\n.dvc/cache\n.dvc/tmp\n",
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
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


@pytest.fixture
def toy(committed_toy, tmp_path):
    """A copy of the toy project to do anything to; the cache is the one of the original."""
    return shutil.copytree(committed_toy, tmp_path / "toy")


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """Where temporary folders are made, empty."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


@pytest.mark.acceptance
def test_a_real_result_comes_out_again_whatever_lies_uncommitted(project, call, scratch):
    (project / "sacpipe" / "training" / "loop.py").write_text("raise SystemExit('an unfinished edit')\n")
    edit(project / "params.yaml", "seed: 1 ", "seed: 2 ")
    before = snapshot(project)
    seen = call(project, "verify")
    assert seen.code == 0, seen.out + seen.err
    outputs = {out["path"] for entry in read_lock(project / "dvc.lock").values() for out in entry["outs"]}
    assert rows(seen) == dict.fromkeys(outputs, "ok")
    assert f"{len(outputs)} of {len(outputs)} outputs" in seen.out
    assert re.search("^not in commit .*: params.yaml, sacpipe/training/loop.py$", seen.err, re.MULTILINE)
    assert [f"{stage}: ran" in seen.err for stage in STAGES] == [True] * 3
    assert "Running stage" not in seen.err
    assert snapshot(project) == before
    assert left(scratch) == []


def test_other_code_and_another_digest_are_named(toy, committed_toy, call, scratch, monkeypatch):
    """The commit changed the policy without a new result, and somebody wrote into its lock."""
    edit(toy / "pipelines" / "stages" / "train.py", "gain 1", "gain 2")
    digest = read_lock(toy / "dvc.lock")["train"]["outs"][-1]["md5"]
    edit(toy / "dvc.lock", digest, "0" * 32 + ".dir")
    commit(toy)
    cache = snapshot(committed_toy, ".dvc/cache")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")  # an operator's habit must not bring the installed code in
    seen = call(toy, "verify", "--json", "--keep")
    assert seen.code == 1, seen.err
    found = {row["output"]: row for row in json.loads(seen.out)}
    assert {path: row["mark"] for path, row in found.items()} == {
        "out/train/metrics.json": "ok",
        "out/train/policy.safetensors": "DIFFERS",
        "out/train/pool": "DIFFERS",
        "out/export/bundle": "DIFFERS",
        "out/evaluate/episodes.csv": "ok",
    }
    assert found["out/train/pool"] == {
        "stage": "train",
        "output": "out/train/pool",
        "expected": "0" * 32 + ".dir",
        "got": digest,
        "mark": "DIFFERS",
    }
    assert "was made from other inputs (train: pipelines/stages/train.py)" in seen.err
    assert "not in commit" not in seen.err
    (kept,) = left(scratch)
    assert f"kept: {kept}" in seen.err
    assert (kept / "out" / "train" / "policy.safetensors").read_text() == "gain 2"
    assert snapshot(committed_toy, ".dvc/cache") == cache


def test_a_statistical_result_is_judged_by_its_returns(toy, call, scratch):
    """Other bytes each time, about the same returns; the committed episodes come from DVC's cache."""
    edit(toy / "pipelines" / "stages" / "train.py", '"gain 1", "exact"', 'os.urandom(8).hex(), "statistical"')
    edit(toy / "pipelines" / "stages" / "evaluate.py", "float(n)}", "n + 0.25}")
    commit(toy)
    shutil.rmtree(toy / "out")
    before = snapshot(toy)
    seen = call(toy, "verify")
    assert seen.code == 0, seen.out + seen.err
    marks = rows(seen)
    assert marks.pop("out/train/pool") == "ok"
    assert set(marks.values()) == {"differs (statistical)"}
    line = seen.out.splitlines()[-1]
    assert re.fullmatch(
        r"deterministic return: committed 3.5, fresh 3.75; 95 % interval of the difference \[-\d.*, \d.*\] "
        "holds 0: the same result",
        line,
    )
    assert {path for path, kept in snapshot(toy).items() if before.get(path) != kept} <= {".dvc/tmp/rwlock"}
    assert left(scratch) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_nothing_behind(toy, scratch, number):
    (toy / "pipelines" / "stages" / "train.py").write_text(
        "import signal\nprint('at work', flush=True)\nsignal.pause()\n"
    )
    commit(toy)
    with subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "sacpipe.cli.main",
            "verify",
        ],  # the installed command, not the toy's package
        cwd=toy,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert any(line == "at work\n" for line in process.stderr)
        assert len(left(scratch)) == 1
        process.send_signal(number)
        told = process.stderr.read()
        assert process.wait() == 3
    assert "verification was interrupted" in told
    assert left(scratch) == []


def test_without_a_commit_or_a_whole_result_there_is_nothing_to_verify(toy, call, scratch):
    shutil.rmtree(toy / ".git")
    seen = call(toy, "verify")
    assert (seen.code, "has no git commit to verify" in seen.err) == (2, True)
    git(toy, "init", "--quiet")
    for stages, message in [
        ({"evaluate"}, r"dvc\.lock in commit \w{12} lacks stage 'evaluate'"),
        (None, r"dvc\.lock is not in commit \w{12}"),
    ]:
        lock = read_lock(toy / "dvc.lock")
        if stages is None:
            (toy / "dvc.lock").unlink()
        else:
            kept = {name: entry for name, entry in lock.items() if name not in stages}
            (toy / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": kept}))
        commit(toy)
        seen = call(toy, "verify")
        assert seen.code == 2
        assert re.search(message, seen.err), seen.err
    assert left(scratch) == []


def test_a_run_that_continues_another_finds_it(toy, scratch):
    edit(toy / "params.yaml", "extends: null", f"extends: {KEY}")
    commit(toy)
    project = Workspace(toy)
    with (
        pytest.raises(ConfigError, match=rf"continues the run {KEY}.*work/{KEY} is not there"),
        rerun(project),
    ):
        pass
    folder = project.work(KEY) / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text("{}")
    with rerun(project) as again:
        assert (again.fresh.work(KEY) / "checkpoints" / "state.json").read_text() == "{}"
    assert (folder / "state.json").is_file()
    edit(toy / "params.yaml", KEY, "..")
    commit(toy)
    with pytest.raises(ConfigError, match=r"continues the run \.\."), rerun(project):
        pass
    assert left(scratch) == []


def test_a_run_that_begins_with_a_pool_finds_it_in_the_folder_or_by_dvc(toy, tmp_path, scratch):
    """In a project that is a part of a repository: DVC counts a commit's paths from the repository's top."""
    project = Workspace(tmp_path / "repository" / "part")
    shutil.copytree(toy, project.root, ignore=shutil.ignore_patterns(".git", "out"))
    git(project.root.parent, "init", "--quiet")
    spec = make_point_mass().make().spec
    config = ReplayConfig(capacity=1, segment_transitions=1, format="full", initial_pool=None)
    writer, row = PoolWriter.create(project.initial_pool, spec, config), np.zeros(4, dtype=np.float32)
    writer.append(Transition(row, row[:2], 0.0, row, True, False, 0))
    writer.finish()
    manifest, whole = project.initial_pool / "manifest.json", sha256_tree(project.initial_pool)
    text, digest = manifest.read_text(), sha256_file(manifest)
    pool = f"replay: {{initial_pool: {{sha256: {digest}, share: 0.5}}}}\n"
    edit(project.params, "seed: 1\n", f"seed: 1\n{pool}")
    edit(project.root / ".gitignore", "out/\n", "out/\n/data/pool\n")
    commit(project.root)
    with rerun(project) as again:
        assert sha256_tree(again.fresh.initial_pool) == whole
    manifest.write_text(text + " ")
    refusal = rf"names the pool {digest} \(replay\.initial_pool\), which is neither in"
    with pytest.raises(ConfigError, match=refusal), rerun(project):
        pass
    manifest.write_text(text)
    command = [sys.executable, "-P", "-m", "dvc", "add", "--quiet", "data/pool"]
    subprocess.run(command, cwd=project.root, check=True, env=environment())
    commit(project.root)
    shutil.rmtree(project.initial_pool)
    with rerun(project) as again:
        assert sha256_tree(again.fresh.initial_pool) == whole
    assert left(scratch) == []


def test_a_project_that_is_a_part_of_a_repository_is_placed_alone(toy, tmp_path, scratch):
    repository = tmp_path / "repository"
    shutil.copytree(toy, repository / "part", ignore=shutil.ignore_patterns(".git", "out"))
    (repository / "beside").write_text("another project\n")
    git(repository, "init", "--quiet")
    commit(repository)
    index = snapshot(repository, ".git")
    with rerun(Workspace(repository / "part")) as again:
        placed = {path.name for path in again.fresh.root.iterdir()}
    assert placed == {".dvc", ".dvcignore", ".gitignore", "dvc.yaml", "params.yaml", "pipelines"}
    assert snapshot(repository, ".git") == index


def locks(**changes):
    expected = {stage: {"outs": [{"path": f"out/{stage}/x", "md5": stage}]} for stage in STAGES}
    got = {stage: {"outs": [dict(out) for out in entry["outs"]]} for stage, entry in expected.items()}
    for stage, outs in changes.items():
        got[stage]["outs"] = outs
    return expected, got


def marks(statistical, **changes):
    found = compare_locks(*locks(**changes), statistical=statistical)
    return {(one.output, one.expected, one.got): one.mark for one in found if one.mark != "ok"}


def test_an_output_that_is_missing_or_new_differs_in_every_tier():
    assert is_same(compare_locks(*locks(), statistical=False), None)
    assert not is_same(compare_locks(*locks(export=[]), statistical=False), None)
    for statistical in (False, True):
        assert marks(statistical) == {}
        assert marks(statistical, export=[]) == {("out/export/x", "export", None): "DIFFERS"}
        more = [{"path": "out/export/x", "md5": "export"}, {"path": "out/export/y", "md5": "y"}]
        assert marks(statistical, export=more) == {("out/export/y", None, "y"): "DIFFERS"}
    other = [{"path": "out/train/x", "md5": "other"}]
    assert marks(False, train=other) == {("out/train/x", "train", "other"): "DIFFERS"}
    assert marks(True, train=other) == {("out/train/x", "train", "other"): "differs (statistical)"}


def test_returns_are_the_same_where_the_interval_holds_zero():
    committed = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]
    near = compare_returns([value + 0.5 for value in committed], committed, EVALUATION, 1)
    assert near.holds
    assert (near.committed_mean, near.fresh_mean) == (3.5, 4.0)
    # The mean of 8 such returns has a standard error of 2.29 / sqrt(8) = 0.81, a difference of two 1.15:
    # the interval is about 0.5 -+ 1.96 * 1.15.
    assert near.low == pytest.approx(-1.75, abs=0.4)
    assert near.high == pytest.approx(2.75, abs=0.4)
    far = compare_returns([value - 5.0 for value in committed], committed, EVALUATION, 1)
    assert not far.holds
    assert far.high < 0.0
    differing = compare_locks(*locks(train=[{"path": "out/train/x", "md5": "other"}]), statistical=True)
    assert is_same(differing, near)
    assert not is_same(differing, far)
    assert compare_returns([2.0, 2.0], [2.0], EVALUATION, 1).holds
    assert compare_returns([2.0, 2.0], [2.0], EVALUATION, 1).low == 0.0


def test_what_either_side_says_of_itself_decides_the_tier(toy):
    """The project's word counts only while its file is the committed one."""
    said = '{"determinism": "statistical"}'
    with rerun(Workspace(toy)) as again:
        shutil.copytree(toy / "out", again.fresh.root / "out")
        assert not is_statistical(again)
        again.project.train_metrics.write_text(said)
        assert not is_statistical(again)
        (committed,) = (
            out for out in again.expected["train"]["outs"] if out["path"] == "out/train/metrics.json"
        )
        committed["md5"] = hashlib.md5(said.encode(), usedforsecurity=False).hexdigest()
        assert is_statistical(again)
        again.project.train_metrics.unlink()
        assert not is_statistical(again)
        again.fresh.train_metrics.write_text(said)
        assert is_statistical(again)


def test_termination_is_an_interrupt_only_meanwhile():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), termination_as_interrupt():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before
