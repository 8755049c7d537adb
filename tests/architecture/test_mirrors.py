"""One graph, several views: params.yaml, its models, dvc.yaml, the stages and the docs agree."""

import importlib
import re

import pytest
from repository import ROOT
from ruamel.yaml import YAML

from pipelines.stages.evaluate import EvaluateParams
from pipelines.stages.export import ExportParams
from sacpipe.core.config import read_yaml
from sacpipe.params.defaults import params_text
from sacpipe.params.model import Params
from sacpipe.project.workspace import STAGES
from sacpipe.training.config import TrainParams

SECTIONS = {"train": TrainParams, "export": ExportParams, "evaluate": EvaluateParams}


def graph():
    return YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def test_params_yaml_mirrors_its_models_field_for_field():
    assert Params.load(ROOT / "params.yaml").as_tree() == read_yaml(ROOT / "params.yaml")


def test_the_committed_params_are_what_the_command_prints():
    text = params_text("gymnasium/InvertedDoublePendulum-v5")
    assert (ROOT / "params.yaml").read_text() == text


@pytest.mark.parametrize(
    "task", ["gymnasium/HalfCheetah-v5", "dm_control/cartpole-swingup", "point_mass/point-mass-v0"]
)
@pytest.mark.parametrize("preset", ["paper", "softlearning"])
def test_printed_params_are_complete_for_any_task_and_preset(tmp_path, task, preset):
    path = tmp_path / "params.yaml"
    path.write_text(params_text(task, preset=preset))
    params = Params.load(path)
    assert f"{params.task.suite}/{params.task.id}" == task
    assert params.algorithm.actor_q == {"paper": "min", "softlearning": "mean"}[preset]
    assert params.as_tree() == read_yaml(path)


def test_budgets_are_softlearnings():
    """examples/development/variants.py at 13cf187."""
    for task, steps in [
        ("gymnasium/HalfCheetah-v5", 3_000_000),
        ("gymnasium/Hopper-v5", 1_000_000),
        ("gymnasium/Humanoid-v5", 10_000_000),
        ("dm_control/walker-run", 1_000_000),
        ("dm_control/cheetah-run", 10_000_000),
        ("dm_control/cartpole-swingup", 3_000_000),
    ]:
        assert f"total_steps: {steps} " in params_text(task)


def test_stages_are_the_same_everywhere():
    assert tuple(graph()) == STAGES
    for name in STAGES:
        assert graph()[name]["cmd"] == f"python -m pipelines.stages.{name}"
        assert callable(getattr(importlib.import_module(f"pipelines.stages.{name}"), f"{name}_stage"))


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_the_sections_it_depends_on(name):
    sections = [section for section in graph()[name]["params"] if isinstance(section, str)]
    assert list(SECTIONS[name].model_fields) == sections


def test_dvc_yaml_keeps_out_of_the_traps():
    """DVC keeps the bytes, but under results/, where git does; report, server and flow retrain nothing.

    `persist` switches the run-cache off, and so does an uncached output that is no metric and no plot.
    """
    for stage in graph().values():
        outs = [item for kind in ("outs", "metrics", "plots") for item in stage.get(kind, [])]
        options = dict(next(iter(item.items())) if isinstance(item, dict) else (item, {}) for item in outs)
        for path, option in options.items():
            assert option.get("cache", True) is not path.startswith("results/"), path
            assert "persist" not in option, path
        assert all(isinstance(item, str) for item in stage.get("outs", [])), stage
        assert stage["deps"]
        for dependency in stage["deps"]:
            assert (ROOT / dependency).exists() or dependency.startswith("out/"), dependency
            assert not re.search(r"report|flow|ledger|commands|stores|cli", dependency), dependency
