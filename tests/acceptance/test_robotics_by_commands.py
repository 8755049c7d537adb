"""Tasks of Gymnasium-Robotics by the commands: trained for 2,000 steps, exported, evaluated, released, verified."""

import json

import pytest
from small_project import SHORT, make_project, sacpipe, with_few_rules, with_values
from suite_trials import BY_COMMANDS

from sacpipe.core.files import read_json
from sacpipe.envs import find_task
from sacpipe.project.identity.dependency_lines import listed_needs
from sacpipe.testing.environments import check_env

pytestmark = pytest.mark.acceptance

SMALL = SHORT | {"hidden_dims": [64, 64], "episodes": 4}
GOALS = {"FetchReach-v4": {"desired_goal"}, "PointMaze_UMaze-v3": {"desired_goal"}, "AdroitHandPen-v1": set()}
"""Goals that the robot gives its policy."""


@pytest.mark.parametrize("task_id", GOALS)
def test_task_is_trained_exported_and_evaluated_with_its_success(tmp_path, task_id):
    task = f"gymnasium_robotics/{task_id}"
    check_env(find_task(task))
    project = make_project(tmp_path / "project")
    printed = sacpipe(project, "params", task, "--steps", "2000")
    assert printed.code == 0, printed.err
    (project / "params.yaml").write_text(with_values(with_few_rules(printed.out), **SMALL))
    ran = sacpipe(project, "run", "--engine", "local", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["verdict"]["accepted"]
    needed = listed_needs(project, "train")
    assert "gymnasium-robotics" in needed.packages
    assert not [path for path in needed.files if path.startswith("/")]
    evaluated = read_json(project / "out" / "evaluate" / "metrics.json", AssertionError)
    assert set(evaluated["deterministic"]["task_metrics"]) == set(BY_COMMANDS[task])
    contract = read_json(project / "out" / "export" / "bundle" / "contract.json", AssertionError)
    names = {term["name"] for term in contract["spec"]["observation"]}
    assert {"achieved_goal", "desired_goal"} & names == GOALS[task_id]
