"""Bounds of actions in float32: never outside the task's own, and refused where float32 has no range."""

import numpy as np
import pytest
from factories import make_spec
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from sacpipe.core.errors import ConfigError
from sacpipe.envs.action_bounds import action_bounds
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.observation import Observation


class Echo:
    """A simulator that keeps the last action."""

    def __init__(self, layout):
        self.layout = layout

    def start(self, seed):
        del seed
        return Observation(self.layout, np.zeros(1, np.float32), {})

    def advance(self, action):
        self.action = action
        return self.start(0), 0.0, False, False, {}


def extremes(low, high):
    """The actions that reach a task at -1 and 1, by the environment and by EnvSpec."""
    spec = make_spec(1, bounds=list(zip(low.tolist(), high.tolist(), strict=True)), max_episode_steps=9)
    simulator = Echo(spec.layout)
    environment = TaskEnvironment(spec, simulator)
    environment.reset(0)
    for value in (-1.0, 1.0, -2.0, 2.0, 0.99999994):
        action = np.full(len(low), value, np.float32)
        environment.step(action)
        np.testing.assert_array_equal(simulator.action, spec.to_task_units(action))
        yield simulator.action


BOUND = st.floats(min_value=-1e37, max_value=1e37)


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(BOUND, BOUND), min_size=1, max_size=3))
def test_saturated_action_lies_in_the_tasks_own_space(pairs):
    low, high = np.array([sorted(pair) for pair in pairs]).T
    high = np.maximum(high, low + np.maximum(np.abs(low), 1e-30) * 1e-5)
    own = spaces.Box(low, high, dtype=np.float64)
    for action in extremes(*action_bounds("t", low, high)):
        assert own.contains(action)
        assert own.contains(action.astype(np.float64))


@pytest.mark.parametrize(("low", "high"), [(-0.1, 0.3), (0.3, 0.6), (-1.1, -0.9)])
def test_a_bound_that_float32_rounds_outwards_is_rounded_inwards(low, high):
    assert float(np.float32(low)) < low or float(np.float32(high)) > high
    found_low, found_high = action_bounds("t", np.array([low]), np.array([high]))
    assert low <= float(found_low[0]) < float(found_high[0]) <= high
    np.testing.assert_allclose([found_low[0], found_high[0]], [low, high], rtol=2e-7)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_a_bound_that_float32_holds_stays_what_it_is(dtype):
    low, high = np.array([-1.0, -0.5, 0.0], dtype), np.array([1.0, 2.0, 0.25], dtype)
    found = action_bounds("t", low, high)
    assert [side.tobytes() for side in found] == [side.astype(np.float32).tobytes() for side in (low, high)]


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (-np.inf, 1.0, "expected two finite bounds"),
        (0.0, np.nan, "expected two finite bounds"),
        (-np.finfo(np.float32).max, np.finfo(np.float32).max, "expected bounds of at most 1e.38"),
        (-1e300, 1e300, "expected bounds of at most 1e.38"),
        (2e38, 3e38, "expected bounds of at most 1e.38"),
        (0.5, 0.5, "expected a range, found equal bounds: the entry is a constant"),
        (1.0, -1.0, "expected the lower bound first"),
        (1.0, 1.0 + 1e-9, "float32 has no two numbers between them"),
        (0.1, np.nextafter(0.1, 1), "float32 has no two numbers between them"),
    ],
)
def test_what_float32_cannot_scale_is_refused_with_its_entry(low, high, message):
    with pytest.raises(ConfigError, match=f"task 't': action entry 1, .*: {message}"):
        action_bounds("t", np.array([-1.0, low]), np.array([1.0, high]))


def test_a_bound_that_means_none_is_refused():
    with pytest.raises(ConfigError, match="Choose a task whose actions have limits"):
        action_bounds("t", np.array([-1e10]), np.array([1e10]), no_bound=1e9)
