"""Manipulation and locomotion of dm_control: names, units, time limits, seeds, and refusals."""

import numpy as np
import pytest

from sacpipe.core.errors import ConfigError, UnknownTaskError
from sacpipe.envs import find_task
from sacpipe.envs.dm_control import DmControlTask
from sacpipe.envs.dm_control_composer import task_ids
from sacpipe.testing.environments import check_env

SLOW = (
    "manipulation-reach_site_features",
    "locomotion-cmu_humanoid_go_to_target",
)


def section(task_id, **options):
    return DmControlTask(suite="dm_control", id=task_id, options=options, metrics=())


def test_ids_are_listed_with_those_of_the_control_suite():
    listed = DmControlTask.tasks()
    assert set(task_ids()) < set(listed)
    assert len(task_ids()) == 14
    assert "cheetah-run" in listed


@pytest.mark.slow
def test_the_list_is_dm_controls_own():
    from dm_control import manipulation
    from dm_control.locomotion.examples import basic_cmu_2019

    names = {f"manipulation-{name}" for name in manipulation.get_environments_by_tag("features")}
    assert {task_id for task_id in task_ids() if task_id.startswith("manipulation-")} == names
    for task_id in set(task_ids()) - names:
        assert callable(getattr(basic_cmu_2019, task_id.removeprefix("locomotion-")))


@pytest.mark.parametrize(
    ("task_id", "offer"),
    [
        ("manipulation-reach_site_vision", "manipulation-reach_site_features"),
        ("locomotion-cmu_humanoid_run_walls", "locomotion-cmu_humanoid_go_to_target"),
        ("locomotion-rodent_two_touch", "locomotion-cmu_humanoid_go_to_target"),
    ],
)
def test_a_task_with_a_camera_is_refused_and_another_offered(task_id, offer):
    with pytest.raises(
        ConfigError, match=rf"observes a camera's image.* Choose another task, e\.g\. {offer}\."
    ):
        section(task_id).make()


def test_unknown_task_offers_the_nearest():
    with pytest.raises(UnknownTaskError, match="dm_control/manipulation-reach_site_features"):
        section("manipulation-reach_site").make()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": {"time_limit": 0}}, r"task\.options\.time_limit: .* greater than 0"),
        ({"options": {"colour": "red"}}, r"task\.options\.colour: unknown key"),
        ({"options": {"random": 3}}, "random is set by sacpipe"),
        ({"metrics": ["success"]}, "have no `info`; expected an empty list"),
    ],
)
def test_wrong_section_is_refused_with_its_reason(changes, message):
    with pytest.raises(ConfigError, match=message):
        section("manipulation-reach_site_features").replace(**changes).make()


@pytest.mark.slow
def test_arm_has_named_terms_with_units_and_servos():
    environment = section("manipulation-reach_site_features").make()
    spec = environment.spec
    terms = {term.name: (term.shape, term.unit) for term in spec.observation}
    assert terms["target_position"] == ((3,), "m")
    assert terms["jaco_arm/joints_pos"] == ((6, 2), "1")  # sine and cosine of each
    assert terms["jaco_arm/jaco_hand/joints_pos"] == ((3,), "rad")
    assert "unknown" not in {unit for _, unit in terms.values()}
    assert {action.unit for action in spec.action} == {"rad/s"}
    assert spec.action[0].high == pytest.approx(np.deg2rad(36), rel=1e-6)  # Kinova's limit
    assert (spec.control_period_s, spec.max_episode_steps) == (0.04, 250)
    first = environment.reset(3)
    np.testing.assert_allclose(np.square(first["jaco_arm/joints_pos"]).sum(axis=1), 1.0, atol=1e-6)
    environment.close()


@pytest.mark.slow
def test_time_limit_truncates_and_a_fall_terminates():
    arm = section("manipulation-reach_site_features", time_limit=0.2).make()
    arm.reset(0)
    assert [arm.step(np.zeros(9))[2:4] for _ in range(5)] == [(False, False)] * 4 + [(False, True)]
    walker = section("locomotion-cmu_humanoid_go_to_target").make()
    assert walker.spec.max_episode_steps == 1000
    walker.reset(0)
    for _ in range(100):
        step = walker.step(np.zeros(56))
        if step.terminated:
            break
    assert (step.terminated, step.truncated) == (True, False)
    assert "unknown" not in {term.unit for term in (*walker.spec.observation, *walker.spec.action)}


@pytest.mark.slow
@pytest.mark.parametrize("task_id", SLOW)
def test_task_keeps_the_contract(task_id):
    check_env(section(task_id, time_limit=0.4))


@pytest.mark.acceptance
@pytest.mark.parametrize("task_id", sorted(set(task_ids()) - set(SLOW)))
def test_further_task_keeps_the_contract(task_id):
    check_env(find_task(f"dm_control/{task_id}").replace(options={"time_limit": 0.4}))
