"""Tasks of Softlearning, and of dm_control's manipulation and locomotion, from 2,000 steps of training to an evaluation."""

import pytest
from small_project import make_project, sacpipe, with_values

from sacpipe.core.files import read_json
from sacpipe.params.defaults import params_text
from sacpipe.project.identity.dependency_lines import listed_needs

pytestmark = pytest.mark.acceptance

SMALL = {
    "hidden_dims": [32, 32],
    "episodes": 2,
    "evaluation_episodes": 1,
    "bootstrap_resamples": 100,
    "golden_steps": 8,
    "max_s": 0.2,
}
ENVS = "sacpipe/envs"
OWN = f"{ENVS}/softlearning"
TASKS = {
    "softlearning/MultiGoal-Default-v0": ({}, {f"{OWN}/multi_goal.py"}),
    "softlearning/Pusher2d-DefaultReach-v0": (
        {"max_episode_steps": 100},
        {f"{OWN}/pusher_2d.py", f"{OWN}/mujoco_simulation.py", f"{OWN}/models"},
    ),
    "softlearning/Ant-SimpleMaze-v0": (
        {"max_episode_steps": 200},
        {f"{OWN}/ant_maze.py", f"{OWN}/mujoco_simulation.py", f"{OWN}/models"},
    ),
    "dm_control/manipulation-reach_site_features": (
        {"time_limit": 4.0},
        {f"{ENVS}/dm_control.py", f"{ENVS}/dm_control_composer.py"},
    ),
    "dm_control/manipulation-lift_brick_features": (
        {"time_limit": 4.0},
        {f"{ENVS}/dm_control.py", f"{ENVS}/dm_control_composer.py"},
    ),
    "dm_control/locomotion-cmu_humanoid_go_to_target": (
        {"time_limit": 3.0},
        {f"{ENVS}/dm_control.py", f"{ENVS}/dm_control_composer.py"},
    ),
}
"""Options, and files of which a run depends among those of the suites."""
SHARED = {
    f"{ENVS}/{name}.py"
    for name in (
        "action_bounds", "base", "info_metrics", "mujoco_terms", "observation_reader", "step_values", "task_environment",
        "softlearning/suite", "softlearning/row_norms",
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("suites") / "project")


@pytest.mark.parametrize("task", TASKS)
def test_task_is_trained_exported_and_evaluated(project, task):
    options, files = TASKS[task]
    text = with_values(params_text(task, steps=2000), options=options, **SMALL)
    (project / "params.yaml").write_text(text)
    sacpipe(project, "run", "--engine", "local", check=0)
    metrics = read_json(project / "out" / "evaluate" / "metrics.json", AssertionError)
    for policy in ("deterministic", "stochastic", "bundle"):
        assert metrics[policy]["length_mean"] > 0
    contract = read_json(project / "out" / "export" / "bundle" / "contract.json", AssertionError)
    assert contract["spec"]["task"] == task
    needed = {path for path in listed_needs(project, "train").files if path.startswith(ENVS)}
    assert needed - SHARED == files
