"""Lineage holds from the alias to the commit, and names each edge that was changed."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ledger_project import GRAPH, PARAMS, commit, record_all, release

from sacpipe.core.errors import StoreError
from sacpipe.project.dvc.commands import Outcome
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.processor_kind import record_kind, this_processor
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace
from sacpipe.tracking.ledger import record_stage
from sacpipe.tracking.lineage import Edge, lineage
from sacpipe.tracking.mlflow.ledger import MlflowLedger


def test_lineage_holds_from_the_alias_to_the_commit(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    record_all(workspace, ledger)
    champions = release(workspace, ledger, name)
    edges = lineage(workspace, ledger, name, champions)
    assert [edge.name for edge in edges if not edge.ok] == []
    assert [edge.name for edge in edges] == [
        "history -> version",
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
    assert lineage(workspace, ledger, f"{name}@champion", champions) == edges
    ledger.registry.set_alias(name, "candidate", 1)
    assert lineage(workspace, ledger, f"{name}@candidate") == edges[1:]  # the history has champions alone
    (missing,) = [edge for edge in lineage(workspace, ledger, name, {name: "0" * 64}) if not edge.ok]
    assert (missing.name, missing.expected) == ("history -> version", "0" * 64)
    assert lineage(workspace, ledger, f"{name}/1") == edges[1:]
    with pytest.raises(StoreError, match="it has 1/candidate/champion"):
        lineage(workspace, ledger, f"{name}/2")


def broken(workspace: Workspace, ledger: MlflowLedger, name: str) -> dict[str, Edge]:
    champions = {name: ledger.registry.version(name, "champion").bundle_digest}
    return {edge.name: edge for edge in lineage(workspace, ledger, name, champions) if not edge.ok}


def test_lineage_finds_each_link_that_was_changed(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    train, export, _ = record_all(workspace, ledger)
    release(workspace, ledger, name)
    store = ledger._store
    (served,) = workspace.state.rglob("model.onnx")
    kept = served.read_bytes()
    served.write_bytes(kept + b"!")
    assert set(broken(workspace, ledger, name)) == {"version -> served policy.onnx", "bundle -> policy.onnx"}
    served.write_bytes(kept)
    (contract,) = workspace.state.rglob("contract.json")
    text = contract.read_text()
    contract.write_text(text.replace("joint", "joist"))
    assert "version -> bundle" in broken(workspace, ledger, name)
    contract.write_text(text)
    records = {json.loads(path.read_text())["cmd"]: path for path in workspace.state.rglob("stage.json")}
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


def test_lineage_shows_the_kind_of_processor_and_finds_one_that_was_edited(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    keys = {stage: stage_key(workspace, stage) for stage in ("train", "export")}
    kind = this_processor().replace(name="A processor")
    for stage, key in keys.items():
        record_kind(workspace, stage, key, kind)
    record_all(workspace, ledger)
    release(workspace, ledger, name)
    shown = {edge.name: edge for edge in lineage(workspace, ledger, name) if "processor" in edge.name}
    assert list(shown) == ["export run -> processor", "train run -> processor"]
    assert all(edge.ok and edge.found.startswith("A processor; ") for edge in shown.values())
    record_kind(workspace, "train", keys["train"], kind.replace(model="99"))
    record_kind(workspace, "export", "0" * 64, kind.replace(model="99"))  # of a later run
    assert set(broken(workspace, ledger, name)) == {"train run -> processor"}


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
    champions = release(workspace, ledger, name)
    edges = lineage(workspace, ledger, name, champions)
    assert all(edge.ok for edge in edges)
    assert {edge.name: edge.found for edge in edges if "initial pool" in edge.name} == {
        "train run -> initial pool": digest,
        "initial pool -> data/pool": digest,
        "initial pool -> data/pool.dvc": digest,
    }
    assert ledger.run(train).datasets["data/pool"] == digest
    # A later pool is in data/pool, so the pool that the commit tracks counts, and DVC lost it.
    (workspace.initial_pool / "manifest.json").write_text("{ }")
    shutil.rmtree(workspace.root / ".dvc" / "cache")
    found = broken(workspace, ledger, name)
    assert set(found) == {"initial pool -> data/pool.dvc"}
    assert "DVC cannot give data/pool/manifest.json of commit" in found["initial pool -> data/pool.dvc"].found


def test_a_pool_that_no_commit_tracks_must_be_in_data_pool(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    begin_with_a_pool(workspace.root, tracked=False)
    record_all(workspace, ledger)
    release(workspace, ledger, name)
    assert broken(workspace, ledger, name) == {}
    shutil.rmtree(workspace.initial_pool)
    assert broken(workspace, ledger, name)["initial pool -> data/pool"].found == "none"


def test_lineage_compares_the_weights_a_training_began_with(
    workspace: Workspace, ledger: MlflowLedger, name: str
) -> None:
    root, digest = workspace.root, hashlib.sha256(b"weights").hexdigest()
    workspace.warm_start.mkdir(parents=True)
    policy = workspace.warm_start / "policy.safetensors"
    policy.write_bytes(b"weights")
    entries, start = read_lock(root / "dvc.lock"), {"sha256": digest, "parts": "all"}
    entries["train"]["params"]["params.yaml"]["training"]["warm_start"] = start
    text = PARAMS.replace("sizes: [1, 2]", f"sizes: [1, 2], warm_start: {json.dumps(start)}")
    (root / "params.yaml").write_text(text)
    (root / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": entries}))
    commit(root)
    record_all(workspace, ledger)
    champions = release(workspace, ledger, name)
    edges = {edge.name: edge for edge in lineage(workspace, ledger, name, champions)}
    assert edges["train run -> data/warm_start"].found == digest
    assert broken(workspace, ledger, name) == {}
    policy.write_bytes(b"others")
    found = broken(workspace, ledger, name)["train run -> data/warm_start"].found
    assert found == hashlib.sha256(b"others").hexdigest()
    shutil.rmtree(workspace.warm_start)
    assert broken(workspace, ledger, name)["train run -> data/warm_start"].found == "none"


def test_a_commit_without_the_inputs_is_named_and_a_later_one_replaces_it(
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
