"""The complete pipeline on the point mass with DVC and MLflow: which stages run again after a change."""

import csv
import json
import re
import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from folder_digest import sha256_tree
from ruamel.yaml import YAML
from small_project import dvc, git, sacpipe

from sacpipe.bundle.files import bundle_digest
from sacpipe.cli.main import COMMANDS
from sacpipe.core.files import sha256_file
from sacpipe.flow.steps import processor_notice
from sacpipe.project.processor_kind import read_kinds, record_kind, this_processor
from sacpipe.project.stage_key import stage_key
from sacpipe.project.workspace import Workspace


def outcomes(seen):
    return [line.partition(": ")[2] for line in seen.err.splitlines() if line.split(":")[0] in STAGES]


STAGES = ("train", "export", "evaluate")


def released(project, call):
    """Run a project whose candidate is committed, and promote it."""
    assert call(project, "run", "--engine", "local").code == 0
    assert call(project, "promote", "--reason", "a test").code == 0


def edit(folder, old, new):
    text = (folder / "params.yaml").read_text()
    assert old in text
    (folder / "params.yaml").write_text(text.replace(old, new))


def test_summary_has_outcomes_verdict_and_digests(finished, call):
    seen = call(finished, "run", "--engine", "local", "--json")
    summary = json.loads(seen.out)
    assert seen.code == 0
    assert summary["outcomes"] == dict.fromkeys(STAGES, "unchanged")
    assert summary["verdict"]["accepted"] is True
    assert summary["promotion"]["alias"] == "champion"
    assert summary["promotion"]["uncommitted"] == ""
    assert summary["bundle_digest"] == bundle_digest(finished / "out" / "export" / "bundle")
    assert Path(summary["report"]).is_file()
    assert dvc(finished, "status").strip() == "Data and pipelines are up to date."


def test_a_project_names_an_orchestrator_of_its_own_by_path(project, call):
    own = "from sacpipe.flow.orchestrator import LocalOrchestrator\n\nclass Loud(LocalOrchestrator):\n"
    own += "    def start(self):\n        print('loud', file=__import__('sys').stderr)\n"
    (project / "loud.py").write_text(own)
    seen = call(project, "run", "--engine", "loud:Loud")
    assert seen.code == 0
    assert "loud\n" in seen.err
    assert outcomes(seen) == ["unchanged"] * 3


@pytest.mark.slow
def test_a_run_without_work_starts_no_server_and_still_records_and_judges(project, call):
    seen = call(project, "run", "--doctor")
    assert seen.code == 0
    assert outcomes(seen) == ["unchanged"] * 3
    assert "This machine is ready." in seen.err
    assert "no stage has to run, so no temporary server is started" in seen.err
    assert "is candidate; no version is champion" in seen.out
    assert not (project / ".sacpipe" / "prefect" / "prefect.db").exists()


@pytest.mark.acceptance
def test_plain_dvc_in_another_folder_gives_the_same_bytes(finished, fresh):
    dvc(fresh, "repro")
    for part in ("out/train", "out/export", "out/evaluate", "results"):
        assert sha256_tree(fresh / part) == sha256_tree(finished / part)
    ours, theirs = ((folder / "dvc.lock").read_text() for folder in (fresh, finished))
    assert ours == theirs


@pytest.mark.acceptance
def test_only_what_depends_on_an_edit_runs_again(project, call):
    with (project / "sacpipe" / "report" / "templates" / "style.css").open("a") as file:
        file.write("/* edited */\n")
    with (project / "pipelines" / "flow.py").open("a") as file:
        file.write("# edited\n")
    assert dvc(project, "status").strip() == "Data and pipelines are up to date."
    before = result_digests(project)
    edit(project, "  episodes: 4 ", "  episodes: 7 ")
    seen = call(project, "run", "--engine", "local")
    assert outcomes(seen) == ["unchanged", "unchanged", "ran"]
    changed = git_status(project)
    assert {"results/episodes.csv", "results/evaluate.json", "results/kind.yaml"} <= changed
    assert not {"results/train.json", "results/curve.csv"} & changed
    # Back again: DVC's run-cache has it, also what git tracks, and the ledger has both.
    edit(project, "  episodes: 7 ", "  episodes: 4 ")
    seen = call(project, "run", "--engine", "local")
    assert outcomes(seen) == ["unchanged", "unchanged", "restored"]
    assert result_digests(project) == before
    assert not any(path.is_symlink() for path in (project / "results").iterdir())
    assert dvc(project, "status").strip() == "Data and pipelines are up to date."


def result_digests(folder):
    """Return the digests of the results that are outputs; the kind of processor is none."""
    return {
        path.name: sha256_file(path) for path in (folder / "results").iterdir() if path.name != "kind.yaml"
    }


def git_status(folder):
    """Return the tracked files that differ from the commit."""
    listed = subprocess.run(
        ["git", "diff", "--name-only"], cwd=folder, check=True, capture_output=True, text=True
    )
    return set(listed.stdout.splitlines())


def test_results_are_a_few_numbers_that_any_clone_compares(finished, tmp_path):
    """A clone without cache and remote: git has the numbers, the curves and the kind of processor."""
    project = tmp_path / "project"
    git(tmp_path, "clone", "--quiet", str(finished), str(project))
    for stage, old in (("train", "env_steps"), ("evaluate", "return_mean")):
        path = project / "results" / f"{stage}.json"
        path.write_text(re.sub(rf'("{old}": )[-.\d]+', r"\g<1>-1.5", path.read_text(), count=1))
    git(project, "commit", "--quiet", "--all", "--message", "another result")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    found = json.loads(dvc(clone, "metrics", "diff", "HEAD~1", "--all", "--json"))
    assert set(found) == {f"results/{stage}.json" for stage in STAGES}
    numbers = [number for metrics in found.values() for number in metrics.values()]
    assert 10 <= len(numbers) <= 15
    assert all(isinstance(one["old"], int | float) for one in numbers)
    assert sorted(one["new"] for one in numbers if one["diff"]) == [-1.5, -1.5]
    header, *rows = csv.reader(dvc(clone, "exp", "show", "--csv", "--num", "2").splitlines())
    steps = [row[header.index("env_steps")] for row in rows]
    assert steps == ["-1.5", "-1.5", "200"]  # workspace, HEAD, HEAD~1
    curves = json.loads(dvc(clone, "plots", "diff", "HEAD~1", "--json", "--out", str(tmp_path / "plots")))
    assert {"results/curve.csv", "results/episodes.csv"} <= {name.split("::")[-1] for name in curves["data"]}
    assert not (clone / "out").exists()
    assert set(yaml_file(clone / "results" / "kind.yaml")) == set(STAGES)


def yaml_file(path):
    return YAML(typ="safe").load(path)


@pytest.mark.acceptance
def test_another_kind_of_processor_is_reported_before_a_stage_runs(project, call):
    """An edit of a copy's results/kind.yaml stands for another machine's result."""
    entry = read_kinds(project / "results" / "kind.yaml")["evaluate"]
    assert entry.stage_key == stage_key(Workspace(project), "evaluate")
    assert entry.processor == this_processor()
    other = entry.processor.replace(model="99", name="Another")
    record_kind(Workspace(project), "evaluate", entry.stage_key, other)
    notice = (
        "and no other entries of dvc.lock, may change although neither code nor params did: evaluate was "
        "computed on Another; "
    )
    assert processor_notice(Workspace(project)) is None  # nothing is to run
    edit(project, "  episodes: 4 ", "  episodes: 3 ")
    seen = call(project, "run", "--engine", "local")
    assert seen.code == 0
    assert notice in seen.err
    assert seen.err.index(notice) < seen.err.index("train: unchanged")
    entry = read_kinds(project / "results" / "kind.yaml")["evaluate"]
    assert entry.processor == this_processor()
    record_kind(Workspace(project), "evaluate", entry.stage_key, other)
    shutil.rmtree(project / "out")  # as in a clone without a cache
    assert notice in processor_notice(Workspace(project))


@pytest.mark.acceptance
def test_an_experiment_is_tracked(project):
    dvc(project, "exp", "run", "--quiet", "-S", "evaluation.episodes=3")
    metrics = json.loads((project / "out" / "evaluate" / "metrics.json").read_text())
    assert metrics["bundle"]["episodes"] == 3


def test_pull_brings_policy_and_pool_back_and_simulate_runs_them(finished, tmp_path, call):
    """A clone has dvc.lock and no outputs; the test sets its remote."""
    project = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(finished), str(project))
    dvc(project, "remote", "modify", "--local", "local", "url", str(finished / ".sacpipe" / "dvcstore"))
    dvc(project, "pull")
    assert sha256_tree(project / "out" / "train") == sha256_tree(finished / "out" / "train")
    assert call(project, "simulate", "--episodes", "1").code == 0
    seen = call(
        project, "simulate", "out/train/policy.safetensors", "--stochastic", "--episodes", "2", "--json"
    )
    simulation = json.loads(seen.out)
    assert simulation["kind"] == "stochastic"
    assert len(simulation["episodes"]) == 2


def test_champion_is_the_bundle_byte_for_byte(finished, call):
    seen = call(finished, "simulate", "models:/point-mass-v0@champion", "--episodes", "2", "--json")
    own = call(finished, "simulate", "--episodes", "2", "--json")
    assert json.loads(seen.out) == json.loads(own.out)
    onnx = sha256_file(finished / "out" / "export" / "bundle" / "policy.onnx")
    artifacts = (finished / ".sacpipe" / "mlartifacts").rglob("*.onnx")
    assert {sha256_file(path) for path in artifacts} == {onnx}


@pytest.mark.acceptance
def test_lineage_holds_and_is_the_same_after_the_ledger_is_lost(project, call):
    released(project, call)
    before = call(project, "lineage", "--json")
    edges = json.loads(before.out)
    assert before.code == 0
    assert all(edge["ok"] for edge in edges)
    named = " ".join(edge["name"] for edge in edges)
    for word in ("bundle", "version", "export run", "train run", "pool", "param", "commit"):
        assert word in named
    (project / ".sacpipe" / "mlflow.db").unlink()
    shutil.rmtree(project / ".sacpipe" / "mlartifacts")
    sacpipe(project, "ledger", "rebuild", check=0)  # a process of its own: this one holds the old database
    after = sacpipe(project, "lineage", "--json")
    assert json.loads(after.out) == edges
    database = sqlite3.connect(project / ".sacpipe" / "mlflow.db")
    assert database.execute("select count(*) from runs where lifecycle_stage = 'active'").fetchone() == (3,)
    database.close()


@pytest.mark.acceptance
def test_lineage_names_a_tampered_artifact(project, call):
    released(project, call)
    onnx = next((project / ".sacpipe" / "mlartifacts").rglob("policy.onnx"))
    data = bytearray(onnx.read_bytes())
    data[len(data) // 2] ^= 1
    onnx.write_bytes(bytes(data))
    seen = call(project, "lineage")
    assert seen.code == 1
    assert "FAIL" in seen.out


def test_simulate_uses_the_options_the_policy_was_trained_with(project, call):
    edit(project, "options: {} ", "options: {max_episode_steps: 7} ")
    seen = call(project, "simulate", "--episodes", "1")
    assert seen.code == 2
    assert "time limit of the policy's training, found others" in seen.err


def test_report_comes_from_the_outputs_alone(project, call, tmp_path):
    (project / ".sacpipe" / "mlflow.db").unlink()
    seen = call(project, "report", "--output", str(tmp_path / "page.html"))
    assert seen.code == 0
    assert "point_mass" in (tmp_path / "page.html").read_text()
    assert not (project / ".sacpipe" / "mlflow.db").exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_has_an_example(tmp_path, call, name):
    seen = call(tmp_path, name, "--help")
    assert seen.code == 0
    assert "example:" in seen.out
    assert f"sacpipe {name}" in seen.out
