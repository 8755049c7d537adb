"""The figure of MultiGoal: read from a run that was trained here, drawn, and a section of its page only."""

import math
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from factories import make_params
from ruamel.yaml import YAML

from sacpipe.core.files import write_bytes
from sacpipe.networks.policy_file import write_policy
from sacpipe.report.plane_data import GRID, STATES_M, ActionValues, Plane, read_plane
from sacpipe.report.sections.paths import build, goal_shares, section, standalone
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.resume import open_run

TASK = "softlearning/MultiGoal-Default-v0"
KEY = "5" * 64
RIDGE = np.outer(np.arange(GRID), np.arange(GRID)).astype(float)
FIGURE = Plane(
    paths=np.array([[(0.0, 0.1), (4.5, 0.0)], [(0.0, 0.0), (0.2, -5.0)], [(0.0, 0.0), (3.0, 3.0)]]),
    states=[ActionValues(position, RIDGE, np.array([(0.5, -0.5)])) for position in STATES_M],
)


class Silent:
    def update(self, env_steps, latest_return):
        pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """params.yaml, policy file and work folder of a run of 40 steps, and its learner."""
    root = tmp_path_factory.mktemp("multi_goal")
    training = {"total_steps": 40, "random_steps": 30, "batch_size": 4, "evaluation_episodes": 1}
    training |= {f"{name}_interval_steps": 40 for name in ("evaluation", "log", "checkpoint")}
    network = {"name": "mlp", "hidden_dims": [8]}
    tree = make_params(TASK, training=training, algorithm={"network": network})
    tree["engine"] = {"name": "autograd", "num_threads": 1}
    with (root / "params.yaml").open("w") as file:
        YAML().dump(tree, file)
    run = open_run(TrainParams.load_sections(root / "params.yaml"), root / "work" / KEY, KEY)
    train(run, lambda: False, Silent())
    write_policy(root / "policy.safetensors", run.learner.policy())
    run.close()
    return root, run.learner


def test_paths_and_values_are_those_of_the_run(trained):
    root, learner = trained
    found = read_plane(root / "params.yaml", root / "policy.safetensors", root / "work" / KEY)
    assert len(found.paths) == 48
    assert len({path.tobytes() for path in found.paths}) == 48  # with noise, and a start of its own each
    for path in found.paths:
        assert math.hypot(*path[0]) < 0.6
        assert 2 <= len(path) <= 31
    assert [state.position for state in found.states] == list(STATES_M)
    state, spec = found.states[3], learner.spec
    position = spec.layout.pack({"position": np.array(state.position, dtype=np.float32)})
    for row, column in ((0, 0), (GRID - 1, 0), (4, 20)):
        action = np.array((2 * column / (GRID - 1) - 1, 2 * row / (GRID - 1) - 1), dtype=np.float32)
        assert state.values[row][column] == pytest.approx(learner.value(position, action), rel=1e-5)
    again = read_plane(root / "params.yaml", root / "policy.safetensors", root / "work" / KEY)
    assert all(np.array_equal(*both) for both in zip(found.paths, again.paths, strict=True))
    assert np.array_equal(state.actions, again.states[3].actions)


def test_without_the_checkpoint_there_are_paths_only(trained, tmp_path):
    root, _ = trained
    for folder in (None, tmp_path / KEY):
        assert read_plane(root / "params.yaml", root / "policy.safetensors", folder).states is None


def test_a_checkpoint_of_other_networks_gives_paths_only(trained, tmp_path):
    root, _ = trained
    text = (root / "params.yaml").read_text().replace("num_critics: 2", "num_critics: 3")
    (tmp_path / "params.yaml").write_text(text)
    assert (
        read_plane(tmp_path / "params.yaml", root / "policy.safetensors", root / "work" / KEY).states is None
    )


def test_shares_of_goals_by_hand():
    """(4.5, 0) is within 1 of (5, 0), (0.2, -5) of (0, -5), (3, 3) of none."""
    assert goal_shares(FIGURE) == (
        "Of 3 episodes, 2 reached a goal ((5, 0): 1, (-5, 0): 0, (0, 5): 0, (0, -5): 1)."
    )


def test_the_drawing_is_a_file_of_its_own_and_the_same_every_time():
    text = standalone(FIGURE)
    assert text == standalone(FIGURE)
    assert "var(" not in text
    styles = [element.get("style", "") for element in ET.fromstring(text).iter()]  # noqa: S314
    assert sum("stroke: #6a4c93" in one for one in styles) == 12 * 4  # contours
    assert sum("fill: #00805f" in one for one in styles) == 4  # goals
    assert sum("stroke: #c55a00; stroke-opacity: 0.55" in one for one in styles) == 3  # paths
    assert "Q at (0, 0): 0 to 900" in text


def test_without_critics_the_drawing_ends_with_the_paths():
    wide, narrow = re.findall('viewBox="0 0 ([^"]*)"', section(FIGURE._replace(states=None)).values["chart"])
    assert (wide, narrow) == ("1080 546", "360 382")


@pytest.mark.slow
def test_the_page_of_the_task_has_the_section(project):
    body = section(FIGURE)
    assert "Of 3 episodes, 2 reached a goal" in body.values["shares"]
    assert body.values["has_states"]
    assert not section(FIGURE._replace(states=None)).values["has_states"]
    assert 'id="paths"' not in project.page()


def test_the_page_of_a_run_of_the_task_has_its_figure(trained, make_project):
    root, _ = trained
    found = make_project(suite="softlearning", task="MultiGoal-Default-v0").write(
        points=2, episodes=2, rows=3
    )
    params = YAML(typ="safe").load(root / "params.yaml") | {"release": found.params["release"]}
    found.params |= {"task": params["task"], "algorithm": params["algorithm"]}
    write_bytes(found.workspace.policy, (root / "policy.safetensors").read_bytes())
    (found.root / "params.yaml").write_bytes((root / "params.yaml").read_bytes())
    page = found.page()
    assert "Of 48 episodes, " in page
    assert "No contours: they are of the critics" in page


@pytest.mark.parametrize(
    ("suite", "task_id"), [("gymnasium", "MultiGoal-Default-v0"), ("softlearning", "Point2DEnv-Default-v0")]
)
def test_other_tasks_have_no_figure(make_project, suite, task_id):
    project = make_project(suite=suite, task=task_id).write(points=1, episodes=1, rows=1)
    assert build(project.outputs) is None
