"""dm_control tasks: discounts tell endings apart, seeds name episodes, observations keep their order."""

import dm_env
import numpy as np
import pytest

from sacpipe.core.errors import ConfigError, SimulatorError, UnknownTaskError
from sacpipe.envs.dm_control import DmControlTask, ending


def section(task_id, **options):
    return DmControlTask(suite="dm_control", id=task_id, options=options, metrics=())


@pytest.mark.parametrize(
    ("step", "flags"),
    [
        (dm_env.transition(1.0, {}), (False, False)),
        (dm_env.transition(1.0, {}, discount=0.0), (False, False)),
        (dm_env.truncation(1.0, {}), (False, True)),
        (dm_env.truncation(1.0, {}, discount=0.9), (False, True)),
        (dm_env.termination(1.0, {}), (True, False)),
    ],
)
def test_only_a_last_step_with_discount_zero_terminates(step, flags):
    assert ending(step) == flags


def test_time_limit_truncates():
    environment = section("cartpole-swingup", time_limit=0.05).make()
    assert environment.spec.max_episode_steps == 5
    environment.reset(0)
    assert [environment.step(np.zeros(1))[2:4] for _ in range(5)] == [(False, False)] * 4 + [(False, True)]


def test_observations_keep_their_order_and_a_scalar_has_no_axis():
    environment = section("finger-turn_easy").make()
    shapes = [(term.name, term.shape) for term in environment.spec.observation]
    assert shapes == [
        ("position", (4,)),
        ("velocity", (3,)),
        ("touch", (2,)),
        ("target_position", (2,)),
        ("dist_to_target", ()),
    ]
    observation = environment.reset(4)
    parts = environment._simulator._env.task.get_observation(environment._simulator._env.physics)
    expected = np.concatenate([np.ravel(parts[name]) for name, _ in shapes]).astype(np.float32)
    np.testing.assert_array_equal(observation.vector, expected)


def test_specification_of_the_suite():
    spec = section("cheetah-run").make().spec
    assert [(term.name, term.size) for term in spec.observation] == [("position", 8), ("velocity", 9)]
    assert [term.name for term in spec.action] == ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"]
    assert spec.control_period_s == pytest.approx(0.01)
    assert spec.max_episode_steps == 1000


def test_bounds_that_are_not_symmetric_are_reached():
    spec = section("quadruped-walk").make().spec
    assert spec.action[1].low == -1.0
    assert spec.action[1].high == pytest.approx(1.1)
    assert spec.to_task_units(np.ones(12, dtype=np.float32))[1] == pytest.approx(1.1)


def test_episode_depends_on_its_seed_alone():
    environment = section("reacher-easy").make()
    first = environment.reset(1)
    for seed in (2, 3):
        environment.reset(seed)
        environment.step(np.ones(2))
    assert environment.reset(1).equals(first)
    assert not environment.reset(2).equals(first)


def test_physics_that_diverges_names_task_and_step():
    environment = section("pendulum-swingup").make()
    environment.reset(0)
    environment._simulator._env.physics.data.qpos[:] = np.nan
    with pytest.raises(
        SimulatorError, match=r"'dm_control/pendulum-swingup', .*, step 1: .* raised PhysicsError: "
    ):
        environment.step(np.zeros(1))


@pytest.mark.parametrize(
    ("task_id", "options", "message"),
    [
        ("lqr-lqr_2_1", {}, "Choose a task whose actions have limits"),
        ("cheetah-run", {"legs": 3}, r"refuses legs=3: .*unexpected keyword argument 'legs'"),
        ("cheetah-run", {"time_limit": "long"}, "refuses time_limit='long'"),
        ("cheetah-run", {"random": 3}, "random is set by sacpipe"),
    ],
)
def test_what_cannot_be_trained_says_why(task_id, options, message):
    with pytest.raises(ConfigError, match=message):
        section(task_id, **options).make()


def test_unknown_task_offers_the_nearest():
    with pytest.raises(UnknownTaskError, match="dm_control/walker-walk"):
        section("walker-wall").make()


def test_metrics_are_refused_because_there_is_no_info():
    with pytest.raises(
        ConfigError, match="'dm_control' have no `info`; expected an empty list, found reward_x"
    ):
        section("cheetah-run").replace(metrics=["reward_x"]).make()
    assert section("cartpole-swingup").make().suggested_metrics() == ()
