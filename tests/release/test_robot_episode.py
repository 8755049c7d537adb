"""Episodes of the release gate: the way of observations, guards that act, and the same draws for everyone."""

import numpy as np
import pytest
from bundle_factories import make_runtime, make_spec
from pole_policies import BALANCES, FALLS, make_environment, score, scored, write_pendulum

from sacpipe.bundle.reader import open_bundle
from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import episode_seed
from sacpipe.envs import find_task
from sacpipe.evaluation.episodes import evaluate, from_task_units
from sacpipe.release.evidence import NOMINAL, Perturbation
from sacpipe.release.robot_episode import SensorPath
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.specs.observation import Observation

LAYOUT = make_spec(1).layout


@pytest.fixture(scope="module")
def environment():
    return make_environment()


def arrivals(perturbation, draws=None, steps=6):
    """Return value and time of what arrives; the observation of step n is n, taken at n."""
    random = np.random.default_rng(0)
    if draws is not None:
        values = iter(draws)
        random = type("Drawn", (), {"random": lambda self: next(values)})()
    path = SensorPath(perturbation, np.zeros(1, np.float32), random)
    found = []
    for step in range(steps):
        observation, stamp = path.arrival(Observation(LAYOUT, np.float32([step]), {}), step)
        found.append((float(observation.vector[0]), stamp))
    return found


def test_without_a_perturbation_each_observation_arrives_at_once():
    assert arrivals(NOMINAL) == [(float(step), step) for step in range(6)]


def test_a_delay_gives_the_first_observation_until_the_second_arrives():
    assert [stamp for _, stamp in arrivals(Perturbation(delay_periods=2))] == [0, 0, 0, 1, 2, 3]


def test_a_drop_out_gives_the_last_observation_again_with_its_time():
    found = arrivals(Perturbation(drop_out=0.5), draws=[0.1, 0.9, 0.1, 0.4, 0.9, 0.1])
    assert [stamp for _, stamp in found] == [0, 1, 1, 1, 4, 4]


def test_noise_has_the_deviation_of_its_share_of_each_range():
    scale = np.float32([0.5, 20.0])
    path = SensorPath(Perturbation(noise=0.1), 0.1 * scale, np.random.default_rng(0))
    zeros = Observation(make_spec(2).layout, np.zeros(2, np.float32), {})
    found = np.array([path.arrival(zeros, step)[0].vector for step in range(4000)])
    assert found.std(axis=0) == pytest.approx(0.1 * scale, rel=0.05)
    assert np.abs(found.mean(axis=0) / (0.1 * scale)).max() < 0.06


@pytest.mark.slow
def test_nominal_episodes_are_those_of_the_evaluation_where_no_guard_acts(environment, tmp_path):
    bundle = open_bundle(write_pendulum(tmp_path / "bundle"))
    seeds = [episode_seed(1, "release", index) for index in range(2)]
    expected = evaluate(from_task_units(OnnxPolicy(bundle).act, bundle.contract.spec), environment, seeds)
    assert score(bundle, environment).episodes(2) == expected


@pytest.mark.slow
def test_a_second_rule_gets_the_same_episodes_and_more_begin_with_the_first(environment, tmp_path):
    ran = []
    bundle = open_bundle(write_pendulum(tmp_path / "bundle", FALLS))
    policy = score(bundle, environment)
    policy._counted = lambda: ran.append(1)
    first = policy.returns(3).tolist()
    assert policy.returns(5).tolist()[:3] == first
    assert len(policy.actions(4)) == 4
    assert len(ran) == 5
    assert score(bundle, environment).returns(5).tolist() == policy.returns(5).tolist()
    perturbed = [one.episode_return for one in policy.perturbed(Perturbation(noise=0.01), 2)]
    again = score(bundle, environment).perturbed(Perturbation(noise=0.01), 2)
    assert [one.episode_return for one in again] == perturbed


@pytest.mark.slow
def test_the_actions_are_those_that_guards_let_through(environment, tmp_path):
    guards = [{"name": "action_change", "fallback": "limit", "max_change": 0.01}]
    free = scored(tmp_path / "free", environment, (5.0, 50.0, 5.0, 10.0)).actions(1)[0]
    limited = scored(
        tmp_path / "limited",
        environment,
        (5.0, 50.0, 5.0, 10.0),
        runtime=make_runtime(guards=guards).as_tree(),
    ).actions(1)[0]
    assert np.abs(np.diff(free, axis=0)).max() > 0.07
    assert np.abs(np.diff(limited, axis=0)).max() <= 0.06 + 1e-6


@pytest.mark.slow
def test_a_stop_ends_with_its_episode(environment, tmp_path):
    guards = [{"name": "observation_old", "fallback": "stop", "max_age_periods": 1.0}]
    policy = scored(tmp_path / "bundle", environment, runtime=make_runtime(guards=guards).as_tree())
    late = policy.perturbed(Perturbation(delay_periods=2), 2)
    assert all(episode.length < 100 for episode in late)
    assert policy.returns(1).tolist() == [1000.0]


@pytest.mark.slow
@pytest.mark.parametrize("perturbation", [Perturbation(mass=30.0), Perturbation(friction=1000.0)])
def test_changed_physics_changes_returns_and_leaves_nothing_behind(environment, tmp_path, perturbation):
    policy = scored(tmp_path / "bundle", environment, FALLS)
    nominal = policy.returns(2).tolist()
    changed = [one.episode_return for one in policy.perturbed(perturbation, 2)]
    assert changed != nominal
    assert scored(tmp_path / "again", environment, FALLS).returns(2).tolist() == nominal


def test_a_task_without_a_model_has_no_perturbed_physics(tmp_path):
    environment = find_task("point_mass/point-mass-v0").make()
    policy = scored(tmp_path / "bundle", environment)
    assert policy.perturbed(Perturbation(mass=2.0), 1) is None
    with pytest.raises(
        ConfigError, match=r"of 'gymnasium/InvertedPendulum-v5' cannot act in 'point_mass/point"
    ):
        policy.returns(1)


@pytest.mark.slow
def test_latency_is_of_single_steps_with_inference(environment, tmp_path):
    durations = scored(tmp_path / "bundle", environment, BALANCES).latency()
    assert durations.shape == (2000,)
    assert 0.0 < np.median(durations) < 0.01
