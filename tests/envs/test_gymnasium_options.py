"""Keyword arguments of a task reach its constructor in the types that it expects, and only those it accepts."""

import numpy as np
import pytest
from line_task import Line, made

from sacpipe.envs.gymnasium import GymnasiumTask


class Options(Line):
    def __init__(self, gains=(1.0,), limits=None, table=None, ranges=((0, 1),), render_mode=None):
        super().__init__(render_mode)
        self.gains, self.limits, self.table, self.ranges = gains, limits, table, ranges


class PassesOn(Options):
    def __init__(self, colour="red", **keywords):
        super().__init__(**keywords)
        self.colour = colour


@pytest.mark.parametrize("constructor", [Options, PassesOn])
def test_list_becomes_a_tuple_where_the_default_is_one(task, constructor):
    simulator = made(task(constructor, gains=[1, 2.0], limits=None, table=[1, 2], ranges=[[0, 2], [1, 3]]))
    assert (simulator.gains, simulator.limits, simulator.table) == ((1, 2.0), None, [1, 2])
    assert simulator.ranges == ((0, 2), (1, 3))


def test_default_of_the_registration_precedes_that_of_the_constructor(task):
    assert made(task(Options, {"table": (3, 4)}, table=[1, 2])).table == (1, 2)


def test_mapping_is_passed_as_it_is(task):
    assert made(task(Options, limits={"x": [-1, 2], "y": None})).limits == {"x": [-1, 2], "y": None}


class Consumes(Line):
    def __init__(self, limits, render_mode=None):
        super().__init__(render_mode)
        self.limits = limits.pop("x")


def test_task_that_changes_its_options_does_not_change_the_params(task):
    section = task(Consumes, limits={"x": [1]})
    assert [made(section).limits for _ in range(2)] == [[1], [1]]
    assert section.options == {"limits": {"x": [1]}}


@pytest.mark.parametrize(
    ("task_id", "option"),
    [
        ("Humanoid-v5", {"healthy_z_range": [1.1, 1.9]}),
        ("Hopper-v5", {"healthy_angle_range": [-0.3, 0.3]}),
        ("Ant-v5", {"contact_force_range": [-2, 2]}),
    ],
)
def test_ranges_of_gymnasiums_own_tasks_are_lists_in_yaml(task_id, option):
    section = GymnasiumTask(suite="gymnasium", id=task_id, options=option, metrics=())
    ((name, value),) = option.items()
    assert getattr(made(section), f"_{name}") == tuple(value)


PARAMETERIZABLE = {
    "healthy_reward": 0.0,
    "healthy_z_range": [-1e6, 1e6],
    "exclude_current_positions_from_observation": False,
}
"""Softlearning's `Parameterizable-v3` (examples/development/variants.py at 13cf187), with limits that are never met."""


@pytest.mark.parametrize("task_id", ["Ant-v5", "Humanoid-v5"])
def test_softlearnings_parameterizable_tasks_are_options(task_id):
    section = GymnasiumTask(
        suite="gymnasium", id=task_id, options=PARAMETERIZABLE, metrics=("reward_survive",)
    )
    environment = section.make()
    plain = section.replace(options={}, metrics=[]).make()
    assert environment.spec.observation[0].source == "MuJoCo qpos[0:3]"
    assert plain.spec.observation[0].source == "MuJoCo qpos[2:3]"
    environment.reset(0)
    simulation = environment._simulator._env.unwrapped
    for height in (0.05, 5.0):
        simulation.data.qpos[2] = height
        step = environment.step(np.zeros(environment.spec.action_dim))
        assert (step.terminated, step.metrics["reward_survive"]) == (False, 0.0)
    plain.reset(0)
    plain._simulator._env.unwrapped.data.qpos[2] = 5.0
    assert plain.step(np.zeros(plain.spec.action_dim)).terminated


class NoRenderMode(Line):
    def __init__(self):
        super().__init__()


class PassesOnToNoRenderMode(NoRenderMode):
    def __init__(self, **keywords):
        super().__init__(**keywords)


class NoConstructor(Line):
    """Its attributes are those of the class, as in a task that has no parameters."""

    __init__ = object.__init__
    steps = 0


def build():
    return NoRenderMode()


@pytest.mark.parametrize("constructor", [NoRenderMode, PassesOnToNoRenderMode, NoConstructor, build])
def test_constructor_without_render_mode_is_not_given_one(task, constructor):
    environment = task(constructor).make(render_size=(4, 6))
    environment.reset(0)
    assert environment.render().shape == (4, 6, 3)


def build_any(**keywords):
    return Line(**keywords)


@pytest.mark.parametrize("constructor", [Line, PassesOn, build_any])
def test_constructor_with_render_mode_gets_it_for_images_only(task, constructor):
    section = task(constructor)
    assert made(section).render_mode is None
    assert section.make(render_size=(4, 4))._simulator._env.unwrapped.render_mode == "rgb_array"
