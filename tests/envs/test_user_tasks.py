"""Gymnasium tasks as people write them: spaces, values and errors that Gymnasium's own tasks do not have."""

import sys
from typing import ClassVar

import gymnasium
import mujoco
import numpy as np
import pytest
from gymnasium import spaces
from line_task import VECTOR, Line

from sacpipe.core.errors import ConfigError, RendererError, SimulatorError
from sacpipe.envs.gymnasium import GymnasiumTask
from sacpipe.testing.environments import check_env

NUMBER = spaces.Box(-np.inf, np.inf, ())


class Mixed(Line):
    observation_space = spaces.Dict(
        [
            ("z", NUMBER),
            ("contacts", spaces.MultiBinary(3)),
            ("arm", spaces.Dict({"q": VECTOR, "hand": spaces.Dict({"n": spaces.Box(0, 9, (1,), np.int32)})})),
        ]
    )

    def observe(self):
        hand = {"n": np.array([self.steps], np.int32)}
        arm = {"q": np.array([0.25, 0.5]), "hand": hand}
        return {"arm": arm, "contacts": np.array([1, 0, 1], np.int8), "z": np.float32(self.x)}


def test_nested_scalar_and_binary_observations_are_terms_named_by_their_path(task):
    section = task(Mixed)
    environment = section.make()
    terms = [(term.name, term.shape) for term in environment.spec.observation]
    assert terms == [("z", ()), ("contacts", (3,)), ("arm/hand/n", (1,)), ("arm/q", (2,))]
    first = environment.reset(3)
    assert first.vector.dtype == np.float32
    x = environment._simulator._env.unwrapped.x
    assert first.vector.tolist() == [np.float32(x), 1.0, 0.0, 1.0, 0.0, 0.25, 0.5]
    check_env(section)


class Scalar(Line):
    observation_space = NUMBER

    def observe(self):
        return np.float64(self.x)


class Binary(Line):
    observation_space = spaces.MultiBinary(2)

    def observe(self):
        return np.array([self.x > 0, self.x > 0.001 * self.steps], np.int8)


class Matrix(Line):
    observation_space = spaces.Box(-np.inf, np.inf, (2, 3))

    def observe(self):
        return np.arange(6.0).reshape(2, 3) + self.x


@pytest.mark.parametrize(("constructor", "shape"), [(Scalar, ()), (Binary, (2,)), (Matrix, (2, 3))])
def test_a_number_bits_and_a_matrix_are_terms_with_their_shape(task, constructor, shape):
    section = task(constructor)
    environment = section.make()
    for observe in (lambda: environment.reset(0), lambda: environment.step(np.ones(1)).observation):
        observation = observe()
        assert list(observation) == ["observation"]
        expected = environment._simulator._env.unwrapped.observe()
        np.testing.assert_array_equal(observation["observation"], np.float32(expected))
        assert observation["observation"].shape == shape
    check_env(section)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            spaces.Dict({"a": spaces.Dict({"c": spaces.Discrete(3)})}),
            r"found Discrete\(3\) at the entry 'a/c'",
        ),
        (spaces.MultiDiscrete([2, 2]), "found MultiDiscrete"),
        (spaces.Tuple([NUMBER, NUMBER]), "found Tuple"),
        (spaces.Text(3), "found Text"),
        (
            spaces.Dict({"a/b": NUMBER, "a": spaces.Dict({"b": NUMBER})}),
            "observation: expected each name once",
        ),
    ],
)
def test_spaces_without_arrays_are_refused_by_the_entry(task, space, message):
    with pytest.raises(ConfigError, match=message):
        task(type("Odd", (Line,), {"observation_space": space})).make()


def wrong_after(value, first_bad_step=5):
    """A task whose observation is `value` from a step on."""

    def observe(self):
        return value if self.steps >= first_bad_step else Line.observe(self)

    return type("Wrong", (Line,), {"observe": observe})


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (np.zeros(1), r"shape \(1,\) of float64"),
        (np.zeros(3), r"shape \(3,\) of float64"),
        (np.zeros((2, 1)), r"shape \(2, 1\) of float64"),
        (np.array(["0.5", "0.5"]), r"shape \(2,\) of <U3"),
        (np.array([0.5, None]), r"shape \(2,\) of object"),
        (np.array([1j, 0]), r"shape \(2,\) of complex128"),
        ([[0.0], [0.0, 1.0]], r"list \[\[0.0\], \[0.0, 1.0\]\]"),
        (0.5, "float 0.5"),
        (None, "NoneType None"),
        ({"x": 1}, "the entries 'x'"),
    ],
)
def test_an_observation_of_another_shape_or_kind_stops_the_run(task, value, found):
    section = task(wrong_after(value))
    environment = section.make()
    environment.reset(4)
    for _ in range(4):
        environment.step(np.zeros(1))
    expected = (
        rf"task 'gymnasium/{section.id}', episode 1 \(seed 4\), step 5: expected an observation of numbers of "
        r"shape \(2,\), found "
    )
    with pytest.raises(SimulatorError, match=expected + found):
        environment.step(np.zeros(1))


def test_an_observation_of_another_shape_is_refused_before_a_run(task):
    with pytest.raises(ConfigError, match=r"cannot be made here: .* of shape \(2,\), found shape \(1,\)"):
        task(wrong_after(np.zeros(1), 1)).make()


class Exchanged(Line):
    """Two arrays whose lengths are wrong, and right in all."""

    observation_space = spaces.Dict({"a": NUMBER, "b": VECTOR})

    def observe(self):
        arrays = [np.zeros(2), np.zeros(())] if self.steps > 2 else [np.zeros(()), np.zeros(2)]
        return dict(zip("ab", arrays, strict=True)) if self.steps < 5 else {"a": np.zeros(())}


def test_each_entry_of_a_mapping_has_its_own_shape(task):
    environment = task(Exchanged).make()
    environment.reset(0)
    for _ in range(2):
        environment.step(np.zeros(1))
    with pytest.raises(SimulatorError, match=r"step 3: .* at the entry 'a', found shape \(2,\)"):
        environment.step(np.zeros(1))


class LosesAnEntry(Mixed):
    def observe(self):
        whole = super().observe()
        return whole if self.steps < 2 else whole | {"arm": {"q": np.zeros(2)}}


def test_a_missing_entry_is_named_by_its_path(task):
    environment = task(LosesAnEntry).make()
    environment.reset(0)
    environment.step(np.zeros(1))
    with pytest.raises(SimulatorError, match="step 2: expected an observation with the entry 'arm/hand'"):
        environment.step(np.zeros(1))


class PhysicsStep(Line):
    dt = 0.002
    model: ClassVar = {"mass": 1.0, "nu": 1}
    observation_structure = "two numbers"


class OwnPeriod(PhysicsStep):
    control_period_s = 0.02


class HasModel(Line):
    dt = 0.05
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint name='slider' type='slide'/><geom size='.1'/></body></worldbody>"
        "<actuator><motor joint='slider'/></actuator></mujoco>"
    )


@pytest.mark.parametrize(
    ("constructor", "period_s", "action"),
    [(PhysicsStep, None, "action_0"), (OwnPeriod, 0.02, "action_0"), (HasModel, 0.05, "slider")],
)
def test_only_a_mujoco_task_has_the_words_of_mujoco(task, constructor, period_s, action):
    spec = task(constructor).make().spec
    assert (spec.control_period_s, spec.action[0].name) == (period_s, action)


def test_the_pendulum_keeps_its_period():
    section = GymnasiumTask(suite="gymnasium", id="Pendulum-v1", options={}, metrics=())
    assert section.make().spec.control_period_s == 0.05


class ChecksItsActions(Line):
    """Refuses an action outside its space, as a robot's driver would."""

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} not in {self.action_space}"
        assert self.action_space.contains(np.asarray(action, self.action_space.dtype))
        return super().step(action)


@pytest.mark.parametrize(
    ("low", "high", "dtype"),
    [(-0.1, 0.3, np.float64), (-1.1, 0.7, np.float64), (0.1, 0.2, np.float32), (-0.1, 0.3, np.float16)],
)
def test_saturated_actions_lie_in_the_tasks_own_space(task, low, high, dtype):
    space = spaces.Box(low, high, (1,), dtype)
    environment = task(type("Strict", (ChecksItsActions,), {"action_space": space})).make()
    environment.reset(0)
    for value in (-1.0, 1.0, -5.0, 5.0, 0.99999994, 0.1):
        environment.step(np.full(1, value, np.float32))


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (np.finfo(np.float32).min, np.finfo(np.float32).max, "action entry 0, .*at most 1e.38 in magnitude"),
        (0.5, 0.5, "action entry 0, .*equal bounds"),
        (-np.inf, 1.0, "action entry 0, .*whose actions have limits"),
    ],
)
def test_bounds_without_a_usable_range_are_refused(task, low, high, message):
    space = spaces.Box(low, high, (1,), np.float32)
    with pytest.raises(ConfigError, match=message):
        task(type("Odd", (Line,), {"action_space": space})).make()


class Busy(Exception):  # noqa: N818
    """What a task's own driver raises."""


def failing(place, error):
    """A task with a retryable error of its own that raises in one place."""

    def method(self, *arguments, **keywords):
        if place == "step" and self.steps < 3:
            return Line.step(self, *arguments)
        raise error

    return type("Failing", (Line,), {place: method, "retryable_errors": (Busy,)})


@pytest.mark.parametrize(
    ("error", "retryable"), [(RuntimeError("lost"), False), (Busy("x"), True), (TimeoutError("x"), True)]
)
def test_errors_that_the_task_names_are_retryable_in_a_step(task, error, retryable):
    environment = task(failing("step", error)).make()
    environment.reset(0)
    for _ in range(3):
        environment.step(np.zeros(1))
    with pytest.raises(
        SimulatorError, match=rf"step 4: the task's step\(\) raised {type(error).__name__}"
    ) as caught:
        environment.step(np.zeros(1))
    assert caught.value.retryable is retryable


@pytest.mark.parametrize("place", ["__init__", "reset"])
@pytest.mark.parametrize("error", [Busy("port"), ConnectionRefusedError("port")])
def test_a_simulator_that_is_busy_is_retryable_when_it_is_made(task, place, error):
    with pytest.raises(SimulatorError, match="cannot be made now: .*port") as caught:
        task(failing(place, error)).make()
    assert (caught.value.retryable, caught.value.exit_code) == (True, 3)


@pytest.mark.parametrize("error", [RuntimeError("no licence"), SystemExit("no licence")])
def test_any_other_error_refuses_the_task(task, error):
    with pytest.raises(ConfigError, match=f"cannot be made here: {type(error).__name__}: no licence"):
        task(failing("__init__", error)).make()


@pytest.mark.parametrize(
    ("render", "message"),
    [
        (lambda self: None, r"found an array of shape \(\) of object"),
        (lambda self: np.zeros((4, 4, 3)), r"found an array of shape \(4, 4, 3\) of float64"),
        (lambda self: np.zeros((0, 4, 3), np.uint8), r"found an array of shape \(0, 4, 3\)"),
        (lambda self: 1 / 0, "the task cannot render here: ZeroDivisionError"),
        (gymnasium.Env.render, r"the task has no render\(\) that returns an RGB array"),
        (lambda self: sys.exit(0), "the task cannot render here: SystemExit: 0"),
    ],
)
def test_what_is_no_image_is_a_renderers_error(task, render, message):
    environment = task(type("NoImage", (Line,), {"render": render})).make(render_size=(4, 4))
    environment.reset(0)
    with pytest.raises(RendererError, match=message):
        environment.render()
