"""Training on robosuite: three tasks by the commands, resume to the byte, and simulators in processes."""

import json

import pytest
from folder_digest import sha256_tree
from robosuite_sections import SOFT
from small_project import SHORT, make_project, sacpipe, with_few_rules, with_values
from small_run import PARAMS, Onlooker, make_params, run_once

from sacpipe.core.config import read_yaml
from sacpipe.core.errors import InterruptedRunError
from sacpipe.core.files import read_json
from sacpipe.project.identity.dependency_lines import listed_needs

ENVS = "sacpipe/envs"
SUITE = {f"{ENVS}/robosuite.py", f"{ENVS}/robosuite_compat.py"}
STAGES = ["reward_reach", "reward_grasp", "reward_lift", "reward_hover"]
TASKS = {
    "Lift": (["success"], {}),
    "NutAssemblySquare": ([*STAGES, "success"], {}),
    "Wipe": (["success"], {"num_environments": 2, "environment_processes": True}),
}
"""Metrics of the printed params, and changes of them."""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("robosuite") / "project")


@pytest.mark.parametrize("task_id", TASKS)
def test_task_is_trained_exported_and_evaluated_with_its_success(project, task_id):
    metrics, changes = TASKS[task_id]
    printed = sacpipe(project, "params", f"robosuite/{task_id}", "--steps", "2000")
    assert printed.code == 0, printed.err
    options = {"options": SOFT | {"horizon": 50}}
    (project / "params.yaml").write_text(
        with_values(with_few_rules(printed.out), **SHORT | options | changes)
    )
    ran = sacpipe(project, "run", "--engine", "local", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["verdict"]["accepted"]
    needed = listed_needs(project, "train")
    assert {"robosuite", "numba", "mujoco"} <= needed.packages
    assert {path for path in needed.files if "robosuite" in path} == SUITE
    assert not [path for path in needed.files if path.startswith("/")]
    assert read_yaml(project / "versions.lock")["robosuite"] == "1.5.2"
    evaluated = read_json(project / "out" / "evaluate" / "metrics.json", AssertionError)
    assert set(evaluated["deterministic"]["task_metrics"]) == {*metrics}
    contract = read_json(project / "out" / "export" / "bundle" / "contract.json", AssertionError)
    assert contract["spec"]["task"] == f"robosuite/{task_id}"
    assert contract["spec"]["control_period_s"] == 0.05


def make_lift(**training):
    options = SOFT | {"horizon": 15, "hard_reset": True}
    task = {"suite": "robosuite", "id": "Lift", "options": options, "metrics": ["success"]}
    return make_params(task=task, training=PARAMS["training"] | {"total_steps": 60} | training)


def test_interrupted_gives_the_bytes_of_uninterrupted(tmp_path):
    run_once(tmp_path / "whole", make_lift())
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", make_lift(), onlooker=Onlooker(stops={37}))
    run_once(tmp_path / "cut", make_lift())
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


def test_two_processes_give_the_bytes_of_two_environments_here(tmp_path):
    run_once(tmp_path / "here", make_lift(num_environments=2))
    apart = make_lift(num_environments=2, environment_processes=True)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "apart", apart, onlooker=Onlooker(stops={11}))
    run_once(tmp_path / "apart", apart)
    assert sha256_tree(tmp_path / "apart" / "out") == sha256_tree(tmp_path / "here" / "out")
