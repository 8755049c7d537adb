"""The ledger from DVC's outputs, on a real repository of the three stages with a hand-made policy."""

import hashlib
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from repository import ROOT

from sacpipe.bundle.files import bundle_digest
from sacpipe.core.errors import StageError, StoreError
from sacpipe.project.dvc.store import Outcome, read_lock
from sacpipe.project.stage_key import StageInputs, locked_inputs, locked_outs, stage_key
from sacpipe.project.workspace import STAGES, Workspace
from sacpipe.tracking.ledger import check_inputs_kept, open_ledger, rebuild, record_stage, register_bundle
from sacpipe.tracking.ledger_values import IS_COMMITTED_TAG, OUTCOME_TAG, VERSION_TAG, flat_params
from sacpipe.tracking.lineage import Edge, lineage
from sacpipe.tracking.live_metrics import LiveMetrics, _GrowingRows
from sacpipe.tracking.mlflow.connection import MlflowConnection
from sacpipe.tracking.mlflow.ledger import MlflowLedger
from sacpipe.tracking.promotion_history import Promotion, append_promotion, current, read_promotions

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


@pytest.fixture(scope="module")
def database(empty_ledger: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of one database for all tests: opening one takes half a second."""
    return f"sqlite:///{shutil.copy(empty_ledger, tmp_path_factory.mktemp('ledger') / 'shared.db')}"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository under git and DVC whose stages ran once, from a commit. Tests work on copies."""
    root = tmp_path_factory.mktemp("trained")
    site = tmp_path_factory.mktemp("site")
    (root / ".dvc").mkdir()
    config = f"[core]\n no_scm = true\n check_update = false\n analytics = false\n site_cache_dir = {site}\n"
    files = {
        ".dvc/config": config,
        ".dvcignore": "__pycache__/\n",
        ".gitignore": "/out/\n/work/\n/.sacpipe/\n__pycache__/\n/.dvc/cache\n/.dvc/tmp\n",
        "dvc.yaml": GRAPH,
        "params.yaml": PARAMS,
        "stages.py": SCRIPT,
        "code/a.py": "a",
        "code/b/c.py": "c",
    }
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    git(root, "init", "-q")
    commit(root)
    repro(root)
    return root


@pytest.fixture(scope="module")
def retrained(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same repository after a change of code and seed that was run and not committed."""
    root = tmp_path_factory.mktemp("retrained") / "project"
    shutil.copytree(trained, root)
    (root / "params.yaml").write_text(PARAMS.replace("seed: 1", "seed: 2"))
    (root / "code" / "new.py").write_text("new")
    repro(root)
    return root


@pytest.fixture
def workspace(trained: Path, tmp_path: Path) -> Workspace:
    shutil.copytree(trained, tmp_path / "project")
    return Workspace(tmp_path / "project")


@pytest.fixture
def changed(retrained: Path, tmp_path: Path) -> Workspace:
    """A copy of the changed repository."""
    shutil.copytree(retrained, tmp_path / "changed")
    return Workspace(tmp_path / "changed")


@pytest.fixture
def ledger(database: str, tmp_path: Path) -> MlflowLedger:
    artifacts = Workspace(tmp_path / "project").artifacts
    return MlflowLedger(MlflowConnection(database, artifacts, experiment=str(tmp_path)))


@pytest.fixture
def lost(empty_ledger: Path, tmp_path: Path) -> MlflowLedger:
    """What is there after the ledger was deleted: nothing."""
    shutil.copy(empty_ledger, tmp_path / "another.db")
    return MlflowLedger(MlflowConnection(f"sqlite:///{tmp_path}/another.db", tmp_path / "another"))


@pytest.fixture
def name(tmp_path: Path) -> str:
    """A registered name of one's own."""
    return f"Reach-{tmp_path.name}"


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


def release(workspace: Workspace, ledger: MlflowLedger, name: str) -> None:
    """Register the bundle and make it champion, as the flow does."""
    version = register_bundle(workspace, ledger, name)
    previous = ledger.registry.alias(name, "champion")
    ledger.registry.set_alias(name, "champion", version.version)
    append_promotion(
        workspace,
        Promotion(
            format_version=1,
            time="2026-01-01T00:00:00Z",
            action="promote",
            model=name,
            alias="champion",
            version=version.version,
            bundle_digest=version.bundle_digest,
            previous_bundle_digest=previous and previous.bundle_digest,
            commit=git(workspace.root, "rev-parse", "HEAD"),
            entries=read_lock(workspace.dvc_lock),
            verdict={"accepted": True},
        ),
    )


def history(ledger: MlflowLedger, run_id: str, name: str) -> list[tuple[int, float]]:
    return [(p.step, p.value) for p in ledger._store.client.get_metric_history(run_id, name)]


LOSSES = [(0, 0.0), (10, 0.25), (20, 0.5), (30, 0.75), (40, 1.0)]


def test_every_stage_has_one_run_with_what_dvc_says_of_it(workspace: Workspace, ledger: MlflowLedger) -> None:
    ids = record_all(workspace, ledger)
    assert record_all(workspace, ledger) == ids
    entries = read_lock(workspace.dvc_lock)
    train, export, evaluate = (ledger.run(run_id) for run_id in ids)
    assert [run.stage_key for run in (train, export, evaluate)] == [stage_key(workspace, s) for s in STAGES]
    steps = {"training.total_steps": "40", "training.tau": "0.005", "training.sizes": "[1, 2]"}
    assert train.params == {"seed": "1"} | steps
    assert history(ledger, ids[0], "critic/loss") == LOSSES
    assert train.metrics["return_mean_deterministic"] == 2.5
    assert train.datasets == {"out/train/pool": locked_outs(entries["train"])["out/train/pool"]}
    assert export.metrics == {"parity_max_error": 0.0}
    assert evaluate.metrics["bundle/return_mean"] == 3.5
    assert len(export.model_ids) == 1
    assert {run.status for run in (train, export, evaluate)} == {"FINISHED"}
    assert train.tags[IS_COMMITTED_TAG] == "true"
    assert train.tags["sacpipe.commit"] == git(workspace.root, "rev-parse", "HEAD")
    assert (train.tags[OUTCOME_TAG], f"{VERSION_TAG}numpy" in train.tags) == ("ran", True)
    assert ledger.record(ids[0]) == entries["train"]


def test_a_restored_stage_claims_no_versions_and_hides_no_earlier_ones(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    run = ledger.run(record_stage(workspace, ledger, "train", Outcome.RESTORED))
    assert run.tags[OUTCOME_TAG] == "restored"
    assert not any(name.startswith(VERSION_TAG) for name in run.tags)
    record_stage(workspace, ledger, "train", Outcome.RAN)
    again = ledger.run(record_stage(workspace, ledger, "train", Outcome.UNCHANGED))
    assert (again.tags[OUTCOME_TAG], f"{VERSION_TAG}numpy" in again.tags) == ("ran", True)


def test_an_output_that_is_missing_or_changed_is_named(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    shutil.rmtree(workspace.pool)  # not needed: dvc.lock names its digest
    record_stage(workspace, ledger, "train")
    workspace.train_metrics.write_text("{}")
    with pytest.raises(
        StoreError, match=r"out/train/metrics.json: expected md5 .* `dvc checkout --force train`"
    ):
        record_stage(workspace, ledger, "train")
    workspace.train_rows.unlink()
    workspace.train_metrics.unlink()
    with pytest.raises(StoreError, match=r"out/train/metrics.json is missing .* `dvc checkout train`"):
        record_stage(workspace, ledger, "train")
    workspace.dvc_lock.unlink()
    with pytest.raises(StoreError, match="stage 'train' never ran"):
        record_stage(workspace, ledger, "train")
    with pytest.raises(StoreError, match="the export stage is not in the ledger"):
        register_bundle(workspace, ledger, name)


def test_a_stage_whose_code_was_edited_while_it_ran_is_refused(workspace: Workspace) -> None:
    key = stage_key(workspace, "train")
    check_inputs_kept(workspace, "train", key)
    with pytest.raises(StageError, match="edited while it ran.*`dvc repro --force --single-item train`"):
        check_inputs_kept(workspace, "train", "0" * 64)


def test_lineage_holds_from_the_alias_to_the_commit(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    record_all(workspace, ledger)
    release(workspace, ledger, name)
    edges = lineage(workspace, ledger, name)
    assert [edge.name for edge in edges if not edge.ok] == []
    assert [edge.name for edge in edges] == [
        "promotion -> version",
        "version -> bundle",
        "version -> served policy.onnx",
        "bundle -> policy.onnx",
        "version -> export run",
        "export run -> params",
        "export run -> params shown",
        "export run -> bundle (md5)",
        "export run -> train run",
        "export run -> policy (md5)",
        "export run -> pool (md5)",
        "bundle -> policy.safetensors",
        "train run -> params",
        "train run -> params shown",
        "train run -> pool snapshot",
        "train run -> commit",
        "export run -> commit",
    ]
    assert lineage(workspace, ledger, f"{name}@champion") == edges
    assert lineage(workspace, ledger, f"{name}/1") == edges[1:]
    with pytest.raises(StoreError, match="it has 1/champion"):
        lineage(workspace, ledger, f"{name}/2")


def broken(workspace: Workspace, ledger: MlflowLedger, name: str) -> dict[str, Edge]:
    return {edge.name: edge for edge in lineage(workspace, ledger, name) if not edge.ok}


def test_lineage_finds_each_link_that_was_changed(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    train, export, _ = record_all(workspace, ledger)
    release(workspace, ledger, name)
    store = ledger._store
    (served,) = workspace.artifacts.rglob("model.onnx")
    kept = served.read_bytes()
    served.write_bytes(kept + b"!")
    assert set(broken(workspace, ledger, name)) == {"version -> served policy.onnx", "bundle -> policy.onnx"}
    served.write_bytes(kept)
    (contract,) = workspace.artifacts.rglob("contract.json")
    text = contract.read_text()
    contract.write_text(text.replace("joint", "joist"))
    assert "version -> bundle" in broken(workspace, ledger, name)
    contract.write_text(text)
    records = {json.loads(path.read_text())["cmd"]: path for path in workspace.artifacts.rglob("stage.json")}
    record = records["python stages.py train"]
    kept = record.read_bytes()
    record.write_bytes(kept.replace(b'"seed":1', b'"seed":2'))
    assert set(broken(workspace, ledger, name)) == {"export run -> train run"}
    record.write_bytes(kept)
    store.batch(train, tags={"sacpipe.params_digest": "0" * 64, "sacpipe.commit": "0" * 40})
    store.batch(export, params={"forged": "1"})
    found = broken(workspace, ledger, name)
    assert set(found) == {"train run -> params", "train run -> commit", "export run -> params shown"}
    assert "is not here" in found["train run -> commit"].found
    store.batch(export, tags={"sacpipe.train_key": "0" * 64})
    assert broken(workspace, ledger, name)["export run -> train run"].found == "no such run in the ledger"


def begin_with_a_pool(root: Path, *, tracked: bool) -> str:
    """Make the project's training one that began with a pool, and commit it; return its manifest's SHA-256."""
    manifest = root / "data" / "pool" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    if tracked:
        dvc = Path(sys.executable).with_name("dvc")
        subprocess.run([dvc, "add", "--quiet", "data/pool"], cwd=root, check=True, capture_output=True)
    replay = {"initial_pool": {"sha256": hashlib.sha256(b"{}").hexdigest(), "share": 0.5}}
    (root / "dvc.yaml").write_text(GRAPH.replace("[seed, training]", "[seed, training, replay]"))
    (root / "params.yaml").write_text(f"{PARAMS}replay: {json.dumps(replay)}\n")
    entries = read_lock(root / "dvc.lock")
    entries["train"]["params"]["params.yaml"]["replay"] = replay
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": entries}))
    with (root / ".gitignore").open("a") as file:
        file.write("/data/pool\n")
    commit(root)
    return replay["initial_pool"]["sha256"]


def test_lineage_follows_the_pool_a_training_began_with(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    digest = begin_with_a_pool(workspace.root, tracked=True)
    train, _, _ = record_all(workspace, ledger)
    release(workspace, ledger, name)
    edges = lineage(workspace, ledger, name)
    assert all(edge.ok for edge in edges)
    assert {edge.name: edge.found for edge in edges if "initial pool" in edge.name} == {
        "train run -> initial pool": digest[:36],
        "initial pool -> data/pool": digest,
        "initial pool -> data/pool.dvc": digest,
    }
    assert ledger.run(train).datasets["data/pool"] == digest[:36]
    # The robot went on recording: what counts is the pool that the commit tracks, and DVC lost it.
    (workspace.initial_pool / "manifest.json").write_text("{ }")
    shutil.rmtree(workspace.root / ".dvc" / "cache")
    found = broken(workspace, ledger, name)
    assert set(found) == {"initial pool -> data/pool.dvc"}
    assert "DVC cannot give data/pool/manifest.json of commit" in found["initial pool -> data/pool.dvc"].found


def test_a_pool_that_no_commit_tracks_must_lie_in_its_place(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    begin_with_a_pool(workspace.root, tracked=False)
    record_all(workspace, ledger)
    release(workspace, ledger, name)
    assert broken(workspace, ledger, name) == {}
    shutil.rmtree(workspace.initial_pool)
    assert broken(workspace, ledger, name)["initial pool -> data/pool"].found == "none"


def test_a_commit_that_lacks_what_ran_is_told_and_a_later_one_takes_its_place(
    changed: Workspace, ledger: MlflowLedger, name: str
) -> None:
    record_all(changed, ledger)
    release(changed, ledger, name)
    found = broken(changed, ledger, name)
    assert set(found) == {"train run -> commit"}  # export reads neither the seed nor code/
    assert found["train run -> commit"].found.endswith("differs in code, params")
    commit(changed.root)
    record_stage(changed, ledger, "train", Outcome.UNCHANGED)
    assert broken(changed, ledger, name) == {}


def test_a_deleted_ledger_is_rebuilt_with_the_same_lineage_even_where_the_champion_is_older(
    workspace: Workspace, changed: Workspace, ledger: MlflowLedger, lost: MlflowLedger, name: str
) -> None:
    record_all(workspace, ledger)
    release(workspace, ledger, name)
    champion, chain = bundle_digest(workspace.bundle), lineage(workspace, ledger, name)
    lines = list(rebuild(workspace, lost))
    assert [line.split(":")[0] for line in lines] == [*STAGES, f"{name}@champion"]
    assert lineage(workspace, lost, name) == chain
    run = lost.find_run(stage_key(workspace, "train"))
    assert run is not None
    assert history(lost, run.run_id, "critic/loss") == LOSSES
    assert list(rebuild(workspace, lost)) == lines

    # Another training took the outputs' place, and was not released: the champion lies in DVC's cache alone.
    again = MlflowLedger(MlflowConnection(lost.tracking_uri, changed.artifacts, experiment="lost again"))
    changed.state.mkdir()
    text = workspace.promotions.read_text()
    changed.promotions.write_text(text.replace(name, f"{name}-2"))
    assert bundle_digest(changed.bundle) != champion
    list(rebuild(changed, again))
    found = again.registry.alias(f"{name}-2", "champion")
    assert found is not None
    assert found.bundle_digest == champion
    # The older policy.safetensors is not in out/ any more; every other edge is as it was.
    expected = [edge for edge in chain if edge.name != "bundle -> policy.safetensors"]
    assert lineage(changed, again, f"{name}-2") == expected


def test_rows_mirrored_from_a_run_that_went_on_otherwise_are_replaced(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    entry = read_lock(workspace.dvc_lock)["train"]
    params = flat_params(locked_inputs(entry))
    mirrored = ledger.ensure_run(locked_inputs(entry).key, "train", params, {})
    ledger.log_rows(mirrored, [{"env_steps": 0, "gradient_steps": 0, "critic/loss": 99.0}])
    run_id = record_stage(workspace, ledger, "train")
    assert run_id != mirrored
    assert history(ledger, run_id, "critic/loss") == LOSSES


def test_the_ledger_opened_for_a_workspace_is_the_one_the_environment_names(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert open_ledger(workspace).tracking_uri == f"sqlite:///{workspace.mlflow_db}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ledger:5000")
    assert open_ledger(workspace).tracking_uri == "http://ledger:5000"


def test_parameters_dvc_calls_equal_are_shown_alike() -> None:
    one, other = (StageInputs("x", {}, {"params.yaml": {"a": {"b": n, "c": {}}}}) for n in (1, 1.0))
    assert flat_params(one) == flat_params(other) == {"a.b": 1, "a.c": {}}
    assert flat_params(StageInputs("x", {}, {"other.yaml": {"a": 1}})) == {"other.yaml.a": 1}


def write_rows(path: Path, rows: range) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for n in rows:
            file.write(json.dumps({"env_steps": 10 * n, "gradient_steps": n, "critic/loss": n / 4}) + "\n")


def wait_for(condition: Callable[[], bool]) -> None:
    deadline, tick = time.monotonic() + 30, threading.Event()
    while not condition():
        assert time.monotonic() < deadline
        tick.wait(0.02)


def test_rows_appear_while_a_stage_runs_and_are_completed_after_it(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    key = stage_key(workspace, "train")
    path = workspace.work(key) / "metrics.jsonl"

    def mirrored() -> int:
        run = ledger.find_run(key)
        return 0 if run is None else int(run.tags.get("sacpipe.metric_rows", "0"))

    with LiveMetrics(workspace, ledger, "train", interval_s=0.05):
        write_rows(path, range(2))
        wait_for(lambda: mirrored() == 2)
        write_rows(path, range(2, 3))
        with path.open("a") as file:
            file.write('{"env_steps": 30')  # a line that is still being written
        wait_for(lambda: mirrored() == 3)
        path.write_text("")  # killed, and resumed from an older checkpoint
        write_rows(path, range(4))
        wait_for(lambda: mirrored() == 4)
    run_id = record_stage(workspace, ledger, "train")
    assert history(ledger, run_id, "critic/loss") == LOSSES


def test_a_stage_that_failed_leaves_no_run_that_seems_to_run(
    workspace: Workspace, ledger: MlflowLedger
) -> None:
    key = stage_key(workspace, "train")
    write_rows(workspace.work(key) / "metrics.jsonl", range(1))

    def diverge() -> None:
        wait_for(lambda: ledger.find_run(key) is not None)
        raise StageError("diverged")

    mirror = LiveMetrics(workspace, ledger, "train", interval_s=0.05)
    with pytest.raises(StageError), mirror:
        diverge()
    wait_for(lambda: not mirror._thread.is_alive())
    run = ledger.find_run(key)
    assert run is not None
    assert run.status == "FAILED"
    assert ledger.run(record_stage(workspace, ledger, "train")).status == "FINISHED"


def test_a_file_that_was_cut_back_is_read_from_the_start(tmp_path: Path) -> None:
    path = tmp_path / "work" / "metrics.jsonl"
    growing = _GrowingRows(path)
    assert growing.read() == []
    write_rows(path, range(3))
    assert [row["gradient_steps"] for row in growing.read()] == [0, 1, 2]
    path.write_text("")
    write_rows(path, range(7, 8))
    assert [row["gradient_steps"] for row in growing.read()] == [7]
    write_rows(path, range(8, 9))
    assert [row["gradient_steps"] for row in growing.read()] == [7, 8]


@pytest.mark.parametrize("answers", [True, False])
def test_a_dead_ledger_neither_stops_nor_slows_a_stage(
    workspace: Workspace, ledger: MlflowLedger, caplog: pytest.LogCaptureFixture, answers: bool
) -> None:
    path = workspace.work(stage_key(workspace, "train")) / "metrics.jsonl"
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen()  # takes the connection, and never says a word
        uri = f"http://127.0.0.1:{server.getsockname()[1]}"
        dead = MlflowLedger(MlflowConnection(uri, workspace.artifacts))
        write_rows(path, range(1))
        begin = time.monotonic()
        with (
            caplog.at_level(logging.WARNING),
            LiveMetrics(workspace, dead, "train", interval_s=0.05) as mirror,
        ):
            for n in range(1, 5):
                write_rows(path, range(n, n + 1))
            if not answers:
                wait_for(lambda: not mirror._thread.is_alive())
        elapsed = time.monotonic() - begin
    if not answers:
        (warning,) = caplog.records
        assert "does not answer" in warning.getMessage()
    assert elapsed < 5
    assert len(path.read_text().splitlines()) == 5
    assert history(ledger, record_stage(workspace, ledger, "train"), "critic/loss") == LOSSES


def promotion(version: int) -> Promotion:
    return Promotion(
        format_version=1,
        time="2026-01-01T00:00:00Z",
        action="rollback",
        model="Reach-v0",
        alias="champion",
        version=version,
        bundle_digest=str(version) * 64,
        previous_bundle_digest=None,
        commit=None,
        entries={"train": {"cmd": "x", "outs": [{"path": "é"}]}},
        verdict=None,
    )


def test_promotions_are_kept_in_order_and_a_torn_line_is_none(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    assert read_promotions(workspace) == []
    append_promotion(workspace, promotion(1))
    with workspace.promotions.open("a") as file:
        file.write('{"format_version": 1, "time": "20')  # the power went
    assert read_promotions(workspace) == [promotion(1)]
    append_promotion(workspace, promotion(2))
    found = read_promotions(workspace)
    assert found == [promotion(1), promotion(2)]
    assert current(found, "Reach-v0", "champion") == promotion(2)
    assert current(found, "Reach-v0", "challenger") is None
    with workspace.promotions.open("a") as file:
        file.write('{"format_version": 2}\n')
    with pytest.raises(StoreError, match="line 4: expected a promotion of format 1"):
        read_promotions(workspace)
