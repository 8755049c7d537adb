"""A task's rewards of recorded steps are checked, and what it raises names the task."""

import numpy as np
import pytest
from factories import make_point_mass

from sacpipe.core.errors import SimulatorError
from sacpipe.envs.task_environment import recorded_rewards


@pytest.fixture
def environment():
    return make_point_mass().make()


def steps(environment):
    observations = environment.reset(3).rows(None)
    return observations, np.zeros((1, 2), dtype=np.float32), observations


def test_they_are_the_tasks_own(environment):
    compute = recorded_rewards(environment)
    for found, expected in zip(
        compute(*steps(environment)), environment.compute_rewards(*steps(environment)), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_a_task_without_rewards_has_none(environment, monkeypatch):
    monkeypatch.setattr(environment, "_compute_rewards", None)
    assert recorded_rewards(environment) is None


@pytest.mark.parametrize(
    ("returned", "fault"),
    [
        ((np.zeros((1, 1)), np.zeros(1)), r"expected 1 finite rewards, found shape \(1, 1\)"),
        ((np.array([np.nan]), np.zeros(1)), r"expected 1 finite rewards, found shape \(1,\)"),
        ((np.zeros(1), np.zeros(2)), r"expected 1 finite terminations, found shape \(2,\)"),
        (None, r"found None"),
    ],
)
def test_other_values_are_refused_with_the_task(environment, monkeypatch, returned, fault):
    compute = recorded_rewards(environment)
    monkeypatch.setattr(environment, "_compute_rewards", lambda *_: returned)
    with pytest.raises(SimulatorError, match=fault):
        compute(*steps(environment))


def test_an_error_of_the_task_names_it(environment, monkeypatch):
    monkeypatch.setattr(environment, "_compute_rewards", lambda *_: 1 / 0)
    with pytest.raises(SimulatorError, match=r"^task 'point_mass/.*reward function raised ZeroDivisionError"):
        recorded_rewards(environment)
