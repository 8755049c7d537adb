"""Every other value that params.yaml documents: all stages run under DVC, and every declared output is there."""

import re
import shutil

import pytest
from small_project import dvc, sacpipe

from sacpipe.core.files import sha256_file
from sacpipe.params.defaults import params_text
from sacpipe.project.dvc.graph import graph_outputs

VIDEO = """\
  video:                         # of the first episode, if a renderer is present; null for none
    height: 320                  # pixels
    width: 480
    frames_per_s: 30.0           # about; the video runs in real time
    max_s: 0.5 """
TEMPERATURE = """\
    mode: automatic              # or `mode: fixed` with `value:` only
    initial: 1.0
    learning_rate: 3.0e-4
    objective: log_temperature   # factor of the entropy gap in the loss: log_temperature or temperature
    target_entropy_per_dimension: -1.0  # nats"""

FIRST = {
    VIDEO: "  video: null\n    #",
    TEMPERATURE: "    mode: fixed\n    value: 0.1",
    "actor_q: min ": "actor_q: mean ",
    "normalise_observations: false": "normalise_observations: true",
    "matmul_precision: float32": "matmul_precision: bfloat16",
    "format: compact": "format: full",
    "updates_per_step: 1 ": "updates_per_step: 0.5 ",
    "safe_action: null": "safe_action: [0.1, -0.1]",
    "action_outside_bounds: stop": "action_outside_bounds: limit",
    "action_change: limit": "action_change: last",
    "start_outside_envelope: safe": "start_outside_envelope: zero",
    "observation_old: last": "observation_old: hold",
    "blend_steps: 0 ": "blend_steps: 5 ",
    "max_action_change: 1.0 ": "max_action_change: 0.5 ",
    "min_return_mean: -60.0": "min_return_mean: null",
}
SECOND = {
    "objective: log_temperature": "objective: temperature    ",
    "updates_per_step: 1 ": "updates_per_step: 2 ",
    "num_critics: 2": "num_critics: 1",
    "hidden_dims: [16, 16]": "hidden_dims: [16]",
    "target_update_interval: 1 ": "target_update_interval: 3 ",
    "num_threads: 1 ": "num_threads: 2 ",
    "capacity: 200 ": "capacity: 50 ",
    "opset_version: 20": "opset_version: 18",
}
INITIAL_POOL = "initial_pool: null"
EXTENDS = "extends: null"
"""`sacpipe run --extend` sets it: tests/project/test_extension.py."""


def with_changes(text, changes):
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


def missing_outputs(folder):
    declared = [path for outs in graph_outputs(folder / "dvc.yaml").values() for path in outs]
    assert len(declared) >= 10
    return [path for path in declared if not (folder / path).exists()]


def test_every_line_whose_comment_names_another_value_is_in_the_tables():
    text = params_text("point_mass/point-mass-v0", steps=200, seed=1, preset="paper")
    named = re.findall(r"(?m)^ *(\w+):.*#.*(?:\bor\b|null|true|bfloat16|another|0 for|1 allows)", text)
    listed = " ".join([*FIRST, *SECOND, INITIAL_POOL, EXTENDS])
    elsewhere = {"last", "fallbacks", "seed"}
    assert len(named) > 10
    assert [key for key in named if f"{key}:" not in listed and key not in elsewhere] == []


@pytest.mark.slow
def test_null_and_the_other_choices_end_with_a_release_and_every_output(fresh, empty_ledger):
    (fresh / ".sacpipe").mkdir()
    shutil.copy(empty_ledger, fresh / ".sacpipe" / "mlflow.db")
    text = with_changes((fresh / "params.yaml").read_text(), FIRST)
    (fresh / "params.yaml").write_text(text)
    seen = sacpipe(fresh, "run", "--engine", "local", check=0)
    assert "no minimum is set" in seen.out or "champion" in seen.out
    assert missing_outputs(fresh) == []
    reason = (fresh / "out" / "evaluate" / "video" / "WHY_NO_VIDEO.txt").read_text()
    assert reason == "No video of task 'point_mass/point-mass-v0': evaluation.video in params.yaml is null.\n"
    assert "evaluation.video in params.yaml is null" in (fresh / ".sacpipe" / "report.html").read_text()


@pytest.mark.acceptance
def test_earlier_experience_and_the_rest_end_with_every_output(finished, fresh):
    shutil.copytree(finished / "out" / "train" / "pool", fresh / "data" / "pool")
    sha256 = sha256_file(fresh / "data" / "pool" / "manifest.json")
    pool = {INITIAL_POOL: f'initial_pool: {{sha256: "{sha256}", share: 1.0}}'}
    text = with_changes((fresh / "params.yaml").read_text(), SECOND | pool)
    (fresh / "params.yaml").write_text(text)
    dvc(fresh, "repro")
    assert missing_outputs(fresh) == []
    assert dvc(fresh, "status").strip() == "Data and pipelines are up to date."
