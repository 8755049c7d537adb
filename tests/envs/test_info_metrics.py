"""Metrics are the entries of a step's `info` that the section names."""

import numpy as np
import pytest
from factories import make_spec

from sacpipe.core.errors import ContractError, SimulatorError
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.observation import Observation

ZERO = np.zeros(1, dtype=np.float32)
SPEC = make_spec(1, ((-1.0, 1.0),), task="toy/script", max_episode_steps=3)


class Informed:
    """A simulator with one `info`, or an error in every step."""

    def __init__(self, info):
        self.info = info

    def start(self, seed):
        del seed
        return Observation(SPEC.layout, np.zeros(1, np.float32), {})

    def advance(self, action):
        del action
        if isinstance(self.info, BaseException):
            raise self.info
        return self.start(0), 0.0, False, False, self.info


INFO = {
    "reward_ctrl": np.float32(-0.5),
    "is_success": np.bool_(True),
    "x": np.array([3]),
    "deep": {"a": {"b": 2}},
}


def measured(info, *names):
    environment = TaskEnvironment(SPEC, Informed(info), metrics=names)
    environment.reset(0)
    return environment


def test_metrics_are_the_named_entries_of_info_as_floats():
    environment = measured(INFO | {"deep/c": 1.5}, "deep/a/b", "is_success", "reward_ctrl", "x", "deep/c")
    metrics = environment.step(ZERO).metrics
    assert list(metrics.items()) == [
        ("deep/a/b", 2.0),
        ("is_success", 1.0),
        ("reward_ctrl", -0.5),
        ("x", 3.0),
        ("deep/c", 1.5),
    ]
    assert {type(value) for value in metrics.values()} == {float}
    assert environment.metric_names == tuple(metrics)
    assert measured(INFO).step(ZERO).metrics == {}


@pytest.mark.parametrize(
    ("info", "name", "message"),
    [
        (INFO, "reward_crtl", "expected an `info` with the entry 'reward_crtl', found the entries 'reward_ctrl', "),
        (INFO, "deep/b", "with the entry 'deep/b', found the entries"),
        (INFO, "x/y", "with the entry 'x/y', found the entries"),
        (INFO | {"x": "one"}, "x", "expected one number at the entry 'x' of `info`, found str 'one'"),
        (INFO | {"x": np.zeros(2)}, "x", r"at the entry 'x' of `info`, found shape \(2,\)"),
        (INFO | {"x": np.nan}, "x", "expected a finite entry 'x' of `info`, found nan"),
        (INFO | {"x": {}}, "x", r"at the entry 'x' of `info`, found the entries \(none\)"),
    ],
)  # fmt: skip
def test_a_metric_that_a_step_lacks_stops_the_run_with_what_is_there(info, name, message):
    environment = measured(info, name)
    with pytest.raises(SimulatorError, match=f"step 1: .*{message}"):
        environment.step(ZERO)
    with pytest.raises(ContractError, match=r"expected reset\(\) first"):
        environment.step(ZERO)


def test_suggested_metrics_are_reward_terms_and_success():
    info = INFO | {
        "success": 0,
        "reward_text": "no",
        "reward_parts": np.zeros(2),
        "reward_x": 1.0,
        "y": 1.0,
        3: 1.0,
    }
    assert measured(info).suggested_metrics() == ("reward_ctrl", "is_success", "success", "reward_x")
    broken = TaskEnvironment(SPEC, Informed(RuntimeError("lost")))
    with pytest.raises(SimulatorError, match="lost"):
        broken.suggested_metrics()
