"""`sacpipe run --extend`: params.yaml names the finished run, and the longer run continues it."""

import json
import shutil

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.core.files import sha256_file
from sacpipe.flow.steps import preflight
from sacpipe.project.dvc.lock_file import read_lock
from sacpipe.project.extend import extend_finished_run
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.workspace import Workspace
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.tracking.chosen import open_ledger


def edit(folder, old, new, file="params.yaml"):
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))


def finished_key(folder):
    return locked_inputs(read_lock(folder / "dvc.lock")["train"]).key


@pytest.mark.acceptance
def test_a_finished_run_continues_with_more_steps_and_earlier_experience(project, call):
    """The run's own pool serves as a robot's."""
    key = finished_key(project)
    shutil.copytree(project / "out" / "train" / "pool", project / "data" / "pool")
    digest = sha256_file(project / "data" / "pool" / "manifest.json")
    edit(project, "initial_pool: null", f"initial_pool: {{sha256: {digest}, share: 0.5}}")
    edit(project, "total_steps: 200 ", "total_steps: 260 ")
    seen = call(project, "run", "--engine", "local", "--extend")
    assert f"extending the run {key[:12]} from 200 to 260 steps" in seen.err
    assert seen.code == 0
    params = (project / "params.yaml").read_text()
    assert f"extends: {key}  # stage key of a finished run" in params
    assert ReplayPool.open(project / "out" / "train" / "pool").transitions == 260
    report = json.loads((project / "out" / "train" / "metrics.json").read_text())
    assert report["env_steps"] == 260
    assert finished_key(project) != key
    locked = locked_inputs(read_lock(project / "dvc.lock")["train"])
    assert locked.params["params.yaml"]["training"]["extends"] == key
    assert "data/pool/manifest.json</th>" in (project / ".sacpipe" / "report.html").read_text()
    recorded = open_ledger(Workspace(project)).find_run(locked.key)
    assert recorded.datasets["data/pool"] == digest
    again = call(project, "run", "--engine", "local", "--extend")
    assert again.code == 2
    assert "training.total_steps is 260 and the finished run has 260. Raise it" in again.err
    shutil.rmtree(project / "data")
    preflight(Workspace(project))  # no stage has to train, so the pool is not needed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "dvc.lock").unlink(), "nothing to extend"),
        (lambda folder: edit(folder, "tau: 0.005", "tau: 0.006"), r"algorithm\.tau changed since"),
        (lambda folder: edit(folder, "batch_size: 256", "batch_size: 25"), r"training\.batch_size changed"),
        (
            lambda folder: edit(folder, '"""', '"""Edited. ', "sacpipe/algorithms/losses.py"),
            "sacpipe/algorithms/losses.py changed since",
        ),
        (lambda folder: shutil.rmtree(folder / "work"), "is not on this machine"),
        (lambda folder: edit(folder, "  extends: null", "  # extends: null"), "expected one line `extends:`"),
    ],
)
def test_a_run_that_cannot_be_extended_is_refused_and_params_stay(project, change, message):
    edit(project, "total_steps: 200 ", "total_steps: 260 ")
    change(project)
    before = (project / "params.yaml").read_text()
    with pytest.raises(ConfigError, match=message):
        extend_finished_run(Workspace.find(project))
    assert (project / "params.yaml").read_text() == before
