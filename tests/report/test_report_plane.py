"""The figure of MultiGoal: read from a run that was trained here, drawn, and a section of its page only."""

import math
import os
import subprocess
import sys
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from factories import make_params
from ruamel.yaml import YAML

from sacpipe.networks.policy_file import write_policy
from sacpipe.report.data import GRID, ActionValues, Plane
from sacpipe.report.outputs import _read_plane, read_report
from sacpipe.report.page import render
from sacpipe.report.plane import _NARROW, _WIDE, draw, goal_shares, standalone
from sacpipe.report.plane_data import STATES_M, read_plane
from sacpipe.training.config import TrainParams
from sacpipe.training.loop import train
from sacpipe.training.resume import open_run

TASK = "softlearning/MultiGoal-Default-v0"
KEY = "5" * 64
RIDGE = tuple(tuple(float(x * y) for x in range(GRID)) for y in range(GRID))
FIGURE = Plane(
    paths=(((0.0, 0.1), (4.5, 0.0)), ((0.0, 0.0), (0.2, -5.0)), ((0.0, 0.0), (3.0, 3.0))),
    states=tuple(ActionValues(position, RIDGE, ((0.5, -0.5),)) for position in STATES_M),
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
    assert len(set(found.paths)) == 48  # with noise, and a start of its own each
    for path in found.paths:
        assert math.hypot(*path[0]) < 0.6
        assert 2 <= len(path) <= 31
    assert [state.position for state in found.states] == list(STATES_M)
    state, spec = found.states[3], learner.spec
    position = spec.layout.pack({"position": np.array(state.position, dtype=np.float32)})
    for row, column in ((0, 0), (GRID - 1, 0), (4, 20)):
        action = np.array((2 * column / (GRID - 1) - 1, 2 * row / (GRID - 1) - 1), dtype=np.float32)
        assert state.values[row][column] == pytest.approx(learner.value(position, action), rel=1e-5)
    assert found == read_plane(root / "params.yaml", root / "policy.safetensors", root / "work" / KEY)


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


def test_the_drawing_is_well_formed_and_the_same_every_time():
    text = standalone(FIGURE)
    assert text == standalone(FIGURE)
    parser = ET.XMLPullParser(["end"])
    parser.feed(text)
    elements = [element for _, element in parser.read_events()]
    kinds = [element.get("class") for element in elements]
    assert (kinds.count("goal"), kinds.count("end"), kinds.count("action")) == (4, 3, 4)
    contours = [element for element in elements if element.get("stroke-opacity")]
    assert len(contours) == 12 * 4
    assert all(path.get("d").startswith("M") for path in contours)
    assert "contour" not in draw(FIGURE._replace(states=None))


def test_without_critics_the_drawing_ends_with_the_paths():
    boxes = [draw(FIGURE._replace(states=None), layout).split('viewBox="')[1] for layout in (_WIDE, _NARROW)]
    assert [box.partition('"')[0] for box in boxes] == ["0 0 528 546", "0 0 360 382"]


@pytest.mark.slow
def test_the_page_of_another_task_needs_no_pytorch(outputs):
    code = f"""
import pathlib, sys
from pathlib import PosixPath
from sacpipe.report.data import ReportInputs
from sacpipe.report.data import GRID, ActionValues, Plane
from sacpipe.report.outputs import _read_plane, read_report
from sacpipe.report.page import render
render(read_report({outputs.inputs!r}))
print("torch" in sys.modules)
"""
    search_path = os.pathsep.join(path for path in sys.path if path)
    found = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": search_path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout == "False\n"


def test_the_page_of_the_task_has_the_section(outputs):
    data = read_report(outputs.inputs)
    assert 'id="plane"' not in render(data)
    assert "#plane" not in render(data)
    page = render(replace(data, plane=FIGURE))
    assert 'id="plane"' in page
    assert 'href="#plane"' in page
    assert "Of 3 episodes, 2 reached a goal" in page
    assert "No contours: they are of the critics" in render(replace(data, plane=FIGURE._replace(states=None)))


@pytest.mark.parametrize(
    ("suite", "task_id"), [("gymnasium", "MultiGoal-Default-v0"), ("softlearning", "Point2DEnv-Default-v0")]
)
def test_other_tasks_have_no_figure(outputs, suite, task_id):
    assert _read_plane(outputs.inputs, {"task": {"suite": suite, "id": task_id}}) is None
