"""Every other value that params.yaml documents: all stages run under DVC, and every declared output is there."""

import re
import shutil

import pytest
from small_project import dvc, sacpipe, with_values

from sacpipe.core.files import sha256_file
from sacpipe.params.defaults import params_text
from sacpipe.project.dvc.graph import graph_outputs

FIRST = {
    "actor_q": "mean",
    "normalise_observations": True,
    "format": "full",
    "updates_per_step": 0.5,
    "safe_action": [0.1, -0.1],
    "blend_steps": 5,
    "ramp_steps": 3,
    "stop_category": 1,
    "watchdog_periods": 20.0,
    "term_max_age_periods": {"velocity": 4.0},
    "min_return_mean": None,
    "keep": "best",
    "stop_at_return": 1000.0,
    "num_environments": 2,
    "environment_processes": True,
    "policy_lag_rounds": 1,
}
"""Other values of keys, by name."""
FIRST_TEXT = {
    r"(?m)^engine:.*\n(  .*\n)+": "engine: {name: torch, num_threads: 2, matmul_precision: bfloat16}\n",
    r"(?m)^  video:.*\n(    .*\n)+": "  video: null\n",
    r"(?m)^  temperature:.*\n(    .*\n)+": "  temperature: {mode: fixed, value: 0.1}\n",
    r"(?m)^    schedule:.*\n(      .*\n)+": "    schedule: {name: linear, final: 0.1, steps: 100}\n",
    r"name: action_outside_bounds, fallback: stop": "name: action_outside_bounds, fallback: limit",
    r"name: action_change, fallback: limit, max_change: 1.0": "name: action_change, fallback: last, max_change: 0.5",
    r"name: start_outside_envelope, fallback: safe": "name: start_outside_envelope, fallback: zero",
    r"name: observation_old, fallback: last": "name: observation_old, fallback: hold",
}
"""Sections and guards that change as a whole, by regular expression."""
SECOND = {
    "objective": "temperature",
    "updates_per_step": 2,
    "num_critics": 1,
    "hidden_dims": [16],
    "target_update_interval": 3,
    "capacity": 50,
    "opset_version": 18,
    "normalise_observations": ["velocity"],
}
ELSEWHERE = {
    "initial_pool",
    "warm_start",  # tests/training/test_warm_start.py
    "extends",  # tests/project/test_extension.py
    "suite", "name", "id", "mode", "metrics",  # members and tasks: tests/flow/test_members.py
    "fallback", "video", "temperature", "schedule", "guards",  # FIRST_TEXT
    "precision",  # tests/engines/test_native_bf16.py; not every processor has bfloat16 products
    "max_last_steps", "evaluation_interval_steps", "golden_steps", "seed",
}  # fmt: skip
"""Keys whose comment has a word of choice, and which other tests or `FIRST_TEXT` change."""


def missing_outputs(folder):
    declared = [path for outs in graph_outputs(folder / "dvc.yaml").values() for path in outs]
    assert len(declared) >= 10
    return [path for path in declared if not (folder / path).exists()]


def test_every_line_whose_comment_names_another_value_is_in_the_tables():
    text = params_text("point_mass/point-mass-v0", steps=200)
    named = re.findall(r"(?m)^ *(\w+):.*#.*(?:\bor\b|null|true|bfloat16|another|0 for|else)", text)
    listed = {*FIRST, *SECOND, *ELSEWHERE}
    assert len(named) > 10
    assert [key for key in named if key not in listed] == []


@pytest.mark.acceptance
def test_null_and_the_other_choices_end_with_a_release_and_every_output(fresh, empty_ledger):
    (fresh / ".sacpipe").mkdir()
    shutil.copy(empty_ledger, fresh / ".sacpipe" / "mlflow.db")
    text = with_values((fresh / "params.yaml").read_text(), **FIRST)
    for old, new in FIRST_TEXT.items():
        text, count = re.subn(old, new, text)
        assert count == 1, old
    (fresh / "params.yaml").write_text(text)
    seen = sacpipe(fresh, "run", "--engine", "local", check=0)
    assert "gate       accepted\n" in seen.out
    assert missing_outputs(fresh) == []
    reason = (fresh / "out" / "evaluate" / "video" / "WHY_NO_VIDEO.txt").read_text()
    assert reason == "No video of task 'point_mass/point-mass-v0': evaluation.video in params.yaml is null.\n"
    assert "evaluation.video in params.yaml is null" in (fresh / ".sacpipe" / "report.html").read_text()


@pytest.mark.acceptance
def test_earlier_experience_and_the_rest_end_with_every_output(finished, fresh):
    shutil.copytree(finished / "out" / "train" / "pool", fresh / "data" / "pool")
    sha256 = sha256_file(fresh / "data" / "pool" / "manifest.json")
    pool = {"initial_pool": {"sha256": sha256, "share": 1.0}}
    text = with_values((fresh / "params.yaml").read_text(), **SECOND | pool)
    (fresh / "params.yaml").write_text(text)
    dvc(fresh, "repro")
    assert missing_outputs(fresh) == []
    assert dvc(fresh, "status").strip() == "Data and pipelines are up to date."
