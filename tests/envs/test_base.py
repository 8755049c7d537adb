"""What `TaskEnvironment` does for every task suite: order, scaling, time limit, finite numbers."""

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacpipe.core.errors import ConfigError, ContractError, UnknownTaskError
from sacpipe.envs.base import TaskEnvironment, nearest, task_errors

ZERO = np.zeros(1, dtype=np.float32)


def make_spec(bounds=((-1.0, 1.0),), limit=3, size=1):
    return factories.make_spec(size, bounds, task="toy/script", max_episode_steps=limit)


class Script:
    """A simulator that returns prepared steps, and keeps the actions it received."""

    def __init__(self, *lines, size=1):
        self.lines, self.actions, self.closed = list(lines), [], 0
        self.observation = np.zeros(size, dtype=np.float32)

    def start(self, seed):
        del seed
        return self.observation.copy()

    def advance(self, action):
        self.actions.append(action)
        line = self.lines.pop(0) if self.lines else (0.0, 0.0, False, False)
        if isinstance(line, Exception):
            raise line
        first, reward, terminated, truncated = line
        observation = self.observation.copy()
        observation[0] = first
        return observation, reward, terminated, truncated

    def close(self):
        self.closed += 1


def start(*lines, limit=3, size=1):
    simulator = Script(*lines, size=size)
    environment = TaskEnvironment(make_spec(limit=limit, size=size), simulator)
    environment.reset(0)
    return environment, simulator


def test_episode_is_truncated_at_the_limit_and_not_before():
    environment, _ = start()
    flags = [environment.step(ZERO)[2:] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


def test_task_that_ends_on_the_last_step_has_terminated():
    environment, _ = start(*[(0.0, 0.0, False, False)] * 2, (0.0, 0.0, True, True))
    assert [environment.step(ZERO)[2:] for _ in range(3)][-1] == (True, False)


def test_task_may_have_a_time_limit_of_its_own():
    environment, _ = start((0.0, 0.0, False, True), limit=None)
    assert environment.step(ZERO)[2:] == (False, True)


def test_reset_starts_the_count_again():
    environment, _ = start()
    environment.step(ZERO)
    environment.reset(1)
    assert [environment.step(ZERO).truncated for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("line", [(0.0, 0.0, True, False), (0.0, 0.0, False, True)])
def test_step_after_the_end_is_refused(line):
    environment, _ = start(line)
    environment.step(ZERO)
    with pytest.raises(ContractError, match=r"expected reset\(\) first"):
        environment.step(ZERO)


def test_step_before_the_first_reset_is_refused():
    with pytest.raises(ContractError, match=r"task 'toy/script': expected reset\(\) first"):
        TaskEnvironment(make_spec(), Script()).step(ZERO)


def test_closed_environment_refuses_and_closes_once():
    environment, simulator = start()
    environment.close()
    environment.close()
    assert simulator.closed == 1
    with pytest.raises(ContractError, match="found step"):
        environment.step(ZERO)
    with pytest.raises(ContractError, match="found a closed one"):
        environment.reset(0)


@pytest.mark.parametrize("size", [1, 100])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_observation_that_is_not_finite_names_task_step_and_entry(bad, size):
    environment, _ = start((0.5, 0.0, False, False), (bad, 0.0, False, False), size=size)
    environment.step(ZERO)
    with pytest.raises(ContractError, match=rf"task 'toy/script', step 2: .* found {bad} at entry 0"):
        environment.step(ZERO)
    with pytest.raises(ContractError, match="reset"):
        environment.step(ZERO)


def test_opposite_infinities_do_not_cancel():
    simulator = Script(size=2)
    environment = TaskEnvironment(make_spec(size=2), simulator)
    simulator.observation[:] = np.inf, -np.inf
    with pytest.raises(ContractError, match="step 0: expected a finite observation"):
        environment.reset(0)


@pytest.mark.parametrize("size", [1, 100])
def test_large_numbers_are_still_numbers(size):
    environment, _ = start((3e38, 1e300, False, False), size=size)
    step = environment.step(ZERO)
    assert step.reward == 1e300
    assert step.observation[0] == np.float32(3e38)


def test_reward_that_is_not_finite_is_refused():
    environment, _ = start((0.0, float("nan"), False, False))
    with pytest.raises(ContractError, match="step 1: expected a finite reward, found nan"):
        environment.step(ZERO)


def test_simulation_that_breaks_down_keeps_its_words():
    environment, _ = start(FloatingPointError("mjWARN_BADQPOS"))
    with pytest.raises(ContractError, match="step 1: the simulation failed: mjWARN_BADQPOS"):
        environment.step(ZERO)


@pytest.mark.parametrize("action", [np.zeros(2), np.zeros((1, 1)), np.zeros(())])
def test_action_of_the_wrong_shape_is_refused(action):
    environment, simulator = start()
    with pytest.raises(ContractError, match=r"step 1: expected an action of shape \(1,\), found"):
        environment.step(action)
    assert simulator.actions == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_action_that_is_not_finite_is_refused_and_the_episode_goes_on(bad):
    environment, simulator = start()
    with pytest.raises(ContractError, match=f"found {bad} at entry 0"):
        environment.step(np.array([bad]))
    assert simulator.actions == []
    environment.step(ZERO)


BOUND = st.floats(min_value=-1e6, max_value=1e6, width=32)


@st.composite
def bounds(draw):
    low, high = sorted(draw(st.tuples(BOUND, BOUND)))
    return (low, high) if high - low > 1e-3 else (low, low + 1.0)


@settings(deadline=None)
@given(
    limits=st.lists(bounds(), min_size=1, max_size=4),
    values=st.lists(st.floats(-1.5, 1.5, width=32), min_size=4, max_size=4),
)
def test_scaling_is_that_of_the_specification_to_the_last_digit(limits, values):
    spec = make_spec(bounds=limits)
    simulator = Script()
    environment = TaskEnvironment(spec, simulator)
    environment.reset(0)
    action = np.array(values[: len(limits)], dtype=np.float32)
    before = action.copy()
    environment.step(action)
    np.testing.assert_array_equal(simulator.actions[0], spec.to_task_units(action))
    assert simulator.actions[0].dtype == np.float32
    assert (action == before).all()


def test_ends_and_middle_of_an_action_are_the_bounds_and_their_mean():
    simulator = Script()
    environment = TaskEnvironment(make_spec(bounds=((-1.0, 1.1), (-0.8, 0.8), (0.0, 4.0))), simulator)
    environment.reset(0)
    for value in (-1.0, 0.0, 1.0):
        environment.reset(0)
        environment.step(np.full(3, value))
    expected = [[-1.0, -0.8, 0.0], [0.05, 0.0, 2.0], [1.1, 0.8, 4.0]]
    np.testing.assert_allclose(simulator.actions, expected, atol=1e-7)
    assert (simulator.actions[2] <= np.array([1.1, 0.8, 4.0], dtype=np.float32)).all()


def test_nearest_names_come_in_their_own_case():
    assert nearest("ANT-V5", ["Ant-v5", "Walker2d-v5"]) == ["Ant-v5"]
    assert nearest("xyz", ["Ant-v5"]) == []


def test_refusal_carries_the_words_and_the_options():
    with (
        pytest.raises(ConfigError, match=r"task 't' refuses gain='a', mass=1: no such gain"),
        task_errors("t", {"mass": 1, "gain": "a"}),
    ):
        raise TypeError("no such\n gain")


def test_refusal_without_options_blames_the_machine():
    with pytest.raises(ConfigError, match="task 't' cannot be made here: no box"), task_errors("t", {}):
        raise OSError("no box")


def test_own_errors_pass_unchanged():
    with pytest.raises(UnknownTaskError), task_errors("t", {}):
        raise UnknownTaskError("t", ())
