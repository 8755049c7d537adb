"""What `TaskEnvironment` does for every task suite: order, scaling, time limit, finite numbers."""

import factories
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacpipe.core.errors import ContractError, RendererError, SimulatorError
from sacpipe.envs.task_environment import TaskEnvironment
from sacpipe.specs.observation import Observation

ZERO = np.zeros(1, dtype=np.float32)


def make_spec(bounds=((-1.0, 1.0),), limit=3, size=1):
    return factories.make_spec(size, bounds, task="toy/script", max_episode_steps=limit)


class UnprintableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Script:
    """A simulator that returns prepared steps, and keeps the actions it received."""

    def __init__(self, *lines, size=1):
        self.layout = make_spec(size=size).layout
        self.lines, self.actions, self.closed, self.close_error = list(lines), [], 0, None
        self.observation = np.zeros(size, dtype=np.float32)

    def start(self, seed):
        del seed
        return Observation(self.layout, self.observation.copy(), {})

    def advance(self, action):
        self.actions.append(action)
        line = self.lines.pop(0) if self.lines else (0.0, 0.0, False, False)
        if isinstance(line, BaseException):
            raise line
        if len(line) == 3:
            return line
        first, *values = line
        observation = self.start(0)
        observation.vector[0] = first
        return observation, *values, {}

    def close(self):
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


def start(*lines, limit=3, size=1):
    simulator = Script(*lines, size=size)
    environment = TaskEnvironment(make_spec(limit=limit, size=size), simulator)
    environment.reset(0)
    return environment, simulator


def test_episode_is_truncated_at_the_limit_and_not_before():
    environment, _ = start()
    flags = [environment.step(ZERO)[2:4] for _ in range(3)]
    assert flags == [(False, False), (False, False), (False, True)]


def test_task_that_ends_on_the_last_step_has_terminated():
    environment, _ = start(*[(0.0, 0.0, False, False)] * 2, (0.0, 0.0, True, True))
    assert [environment.step(ZERO)[2:4] for _ in range(3)][-1] == (True, False)


def test_task_may_have_a_time_limit_of_its_own():
    environment, _ = start((0.0, 0.0, False, True), limit=None)
    assert environment.step(ZERO)[2:4] == (False, True)


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
    with pytest.raises(
        SimulatorError, match=rf"task 'toy/script', episode 1 \(seed 0\), step 2: .* found {bad} at entry 0"
    ):
        environment.step(ZERO)
    with pytest.raises(ContractError, match="reset"):
        environment.step(ZERO)


def test_opposite_infinities_do_not_cancel():
    simulator = Script(size=2)
    environment = TaskEnvironment(make_spec(size=2), simulator)
    simulator.observation[:] = np.inf, -np.inf
    with pytest.raises(SimulatorError, match="step 0: expected a finite observation"):
        environment.reset(0)


@pytest.mark.parametrize("size", [1, 100])
def test_large_numbers_are_still_numbers(size):
    environment, _ = start((3e38, 1e300, False, False), size=size)
    step = environment.step(ZERO)
    assert step.reward == 1e300
    assert step.observation["state"][0] == np.float32(3e38)


def test_reward_that_is_not_finite_is_refused():
    environment, _ = start((0.0, float("nan"), False, False))
    with pytest.raises(SimulatorError, match="step 1: expected a finite reward, found nan"):
        environment.step(ZERO)


@pytest.mark.parametrize(
    ("error", "message", "retryable"),
    [
        (FloatingPointError("mjWARN_BADQPOS"), "FloatingPointError: mjWARN_BADQPOS", False),
        (RuntimeError("lost\n  connection"), "RuntimeError: lost connection", False),
        (AssertionError(), "AssertionError without a message", False),
        (KeyError("joint"), "KeyError: 'joint'", False),
        (SystemExit(0), "SystemExit: 0", False),
        (ConnectionResetError("peer"), "ConnectionResetError: peer", True),
        (TimeoutError("5 s"), "TimeoutError: 5 s", True),
        (UnprintableError(), "UnprintableError without a message", False),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_whatever_a_step_raises_is_one_error_with_place_and_cause(error, message, retryable):
    environment, _ = start((0.0, 0.0, False, False), error)
    environment.step(ZERO)
    expected = rf"task 'toy/script', episode 1 \(seed 0\), step 2: the task's step\(\) raised {message} \(test_task_environment.py, line \d+\)\.$"
    with pytest.raises(SimulatorError, match=expected) as caught:
        environment.step(ZERO)
    assert (caught.value.exit_code, caught.value.retryable) == (3, retryable)
    with pytest.raises(ContractError, match=r"expected reset\(\) first"):
        environment.step(ZERO)


def test_errors_that_a_task_names_are_retryable():
    environment = TaskEnvironment(make_spec(), Script(LookupError("busy")), None, (LookupError,))
    environment.reset(0)
    with pytest.raises(SimulatorError) as caught:
        environment.step(ZERO)
    assert caught.value.retryable


def test_interruption_and_our_own_errors_pass_unchanged():
    for error in (KeyboardInterrupt(), RendererError("no box")):
        environment, _ = start(error)
        with pytest.raises(type(error)):
            environment.step(ZERO)


@pytest.mark.parametrize(
    ("reward", "value"),
    [(np.array([2.5]), 2.5), (np.float32(0.5), 0.5), (np.array([[1]]), 1.0), (3, 3.0), (np.bool_(True), 1.0)],
)
def test_one_number_is_a_reward_in_any_type(reward, value):
    environment, _ = start((0.0, reward, np.bool_(False), np.array([True])))
    step = environment.step(ZERO)
    assert (step.reward, type(step.reward)) == (value, float)
    assert step[2:4] == (False, True)
    assert {type(step.terminated), type(step.truncated)} == {bool}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ((0.0, None, False, False), "expected one number as reward, found NoneType None"),
        ((0.0, "1.5", False, False), "expected one number as reward, found str '1.5'"),
        ((0.0, 1 + 2j, False, False), "expected one number as reward, found complex"),
        ((0.0, np.zeros(2), False, False), r"expected one number as reward, found shape \(2,\) of float64"),
        ((0.0, np.array([np.inf]), False, False), "expected a finite reward, found inf"),
        ((0.0, 0.0, 1, False), "expected a bool as `terminated`, found int 1"),
        ((0.0, 0.0, None, False), "expected a bool as `terminated`, found NoneType None"),
        ((0.0, 0.0, False, "no"), "expected a bool as `truncated`, found str 'no'"),
        ((0.0, 0.0, False, np.zeros(2, bool)), r"expected a bool as `truncated`, found shape \(2,\) of bool"),
        ((0.0, 0.0, False), "ValueError: not enough values to unpack"),
    ],
)
def test_a_value_of_another_type_names_expected_and_found(line, message):
    environment, _ = start(line)
    with pytest.raises(SimulatorError, match=rf"step 1: .*{message}"):
        environment.step(ZERO)


class WrongObservation(Script):
    """Returns a prepared second observation."""

    def __init__(self, observation):
        super().__init__(size=2)
        self.second = observation

    def advance(self, action):
        super().advance(action)
        return self.second, 0.0, False, False, {}


LAYOUT = make_spec(size=2).layout
PICTURED = factories.make_spec(task="toy/script").replace(
    observation=[
        {"name": "state", "shape": [2], "dtype": "float32", "unit": "m", "source": "", "groups": ["policy", "critic"]},
        {"name": "eye", "shape": [4, 4, 3], "dtype": "uint8", "unit": "1", "source": "", "groups": ["policy", "critic"]},
    ]
)  # fmt: skip


def packed(vector, layout=LAYOUT, **images):
    return Observation(layout, vector, images)


@pytest.mark.parametrize(
    ("spec", "observation", "message"),
    [
        (None, packed(np.zeros(1, np.float32)), r"the vector .*shape \(2,\) of float32, found shape \(1,\) of float32"),
        (None, packed(np.zeros((1, 2), np.float32)), r"found shape \(1, 2\) of float32"),
        (None, packed(np.zeros(2)), r"found shape \(2,\) of float64"),
        (None, packed([0.0, 0.0]), r"found list \[0.0, 0.0\]"),
        (None, packed(np.zeros(2, np.float32), make_spec(size=1).layout), "of the terms of the specification"),
        (None, np.zeros(2, np.float32), r"an Observation .*found shape \(2,\)"),
        (None, {"state": np.zeros(2)}, "an Observation .*found the entries 'state'"),
        (None, None, "an Observation .*found NoneType None"),
        (PICTURED, packed(np.zeros(2, np.float32), PICTURED.layout), r"each image .*found \[\]"),
        (
            PICTURED,
            packed(np.zeros(2, np.float32), PICTURED.layout, eye=np.zeros((4, 4, 1), np.uint8)),
            r"the image 'eye' .*shape \(4, 4, 3\) of uint8, found shape \(4, 4, 1\)",
        ),
        (
            PICTURED,
            packed(np.zeros(2, np.float32), PICTURED.layout, eye=np.zeros((4, 4, 3))),
            r"the image 'eye' .*found shape \(4, 4, 3\) of float64",
        ),
    ],
)  # fmt: skip
def test_an_observation_of_another_shape_or_type_stops_the_run(spec, observation, message):
    spec = spec or make_spec(size=2)
    simulator = WrongObservation(observation)
    simulator.start = lambda seed: spec.layout.pack(
        {term.name: np.zeros(term.shape) for term in spec.observation}
    )
    environment = TaskEnvironment(spec, simulator)
    environment.reset(5)
    with pytest.raises(SimulatorError, match=rf"episode 1 \(seed 5\), step 1: expected .*{message}"):
        environment.step(np.zeros(spec.action_dim, np.float32))


def test_the_entry_that_is_not_finite_is_named_by_its_term():
    terms = [
        factories.make_spec(size).observation[0].as_tree() | {"name": name}
        for name, size in (("a", 2), ("b", 3))
    ]
    spec = make_spec().replace(observation=terms)
    simulator = WrongObservation(spec.layout.pack({"a": np.zeros(2), "b": np.array([0, np.inf, 0])}))
    simulator.start = lambda seed: spec.layout.pack({"a": np.zeros(2), "b": np.zeros(3)})
    environment = TaskEnvironment(spec, simulator)
    environment.reset(0)
    with pytest.raises(SimulatorError, match="found inf at entry 1 of 'b'"):
        environment.step(ZERO)


def test_an_error_in_reset_names_the_episode_and_its_seed():
    environment, simulator = start()
    simulator.observation = np.zeros(3, np.float32)
    with pytest.raises(SimulatorError, match=r"episode 2 \(seed 9\), step 0: .* found shape \(3,\)"):
        environment.reset(9)
    with pytest.raises(ContractError, match=r"expected reset\(\) first"):
        environment.step(ZERO)


@pytest.mark.parametrize("error", [RuntimeError("lost"), SystemExit(1)], ids=["error", "exit"])
def test_an_error_in_close_is_a_warning_and_hides_nothing(error, caplog):
    environment, simulator = start()
    simulator.close_error = error
    environment.close()
    environment.close()
    (record,) = caplog.records
    expected = f"task 'toy/script', episode 1 (seed 0), step 0: the task's close() raised {type(error).__name__}: {error} ("
    assert record.getMessage().startswith(expected)


def test_an_error_in_render_is_one_error():
    with pytest.raises(SimulatorError, match=r"the task's render\(\) raised AttributeError"):
        start()[0].render()


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
