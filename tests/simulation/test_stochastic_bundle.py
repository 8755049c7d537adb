"""A bundle with the input `noise`, exported from Soft Q-learning's policy, in the robot's runtime."""

import numpy as np
import pytest
import torch
from bundle_factories import make_runtime
from factories import make_algorithm

import sacpipe
from sacpipe.bundle.contract import Provenance
from sacpipe.envs.softlearning.suite import SoftlearningTask
from sacpipe.evaluation.episodes import evaluate
from sacpipe.export.bundle import export_bundle
from sacpipe.export.config import ExportConfig
from sacpipe.export.evidence import Evidence, envelope
from sacpipe.export.inputs import recorded_inputs
from sacpipe.robot.policy import OnnxPolicy
from sacpipe.simulation.simulate import simulate

SEEDS = [11, 12, 13]


@pytest.fixture(scope="module")
def task():
    return SoftlearningTask.example().make()


@pytest.fixture(scope="module")
def network(task):
    return make_algorithm("sql", noise_dim=3).build(task.spec, 0).policy().network.eval()


@pytest.fixture(scope="module")
def observations(task):
    found = task.spec.layout.empty(20)
    found.vector[:] = np.random.default_rng(0).normal(size=found.vector.shape)
    return found


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, task, network, observations):
    spec = task.spec
    low, high = (limit(observations.group("policy"), axis=0) for limit in (np.min, np.max))
    origin = Provenance(algorithm="sql", digests={})
    evidence = Evidence(observations, envelope(spec, low, high, dict.fromkeys(observations, 1)), origin)
    config = ExportConfig(opset_version=20, parity_tolerance=1e-5, golden_steps=5)
    folder = tmp_path_factory.mktemp("exported") / "bundle"
    export_bundle(folder, network, spec, config, evidence, make_runtime())
    return folder


def test_the_robots_actions_are_the_networks_for_the_same_noise(bundle, network, task, observations):
    robot, inputs = OnnxPolicy(bundle), recorded_inputs(observations, 3)
    assert robot.contract.onnx.noise.dim == 3
    with torch.no_grad():
        expected = task.spec.to_task_units(network(*inputs.tensors()).numpy())
    found = [robot.act(observations.rows(row), inputs.noise[row]) for row in range(20)]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_without_noise_a_bundle_is_the_deterministic_policy(bundle, network, task):
    loaded = sacpipe.load_policy(bundle)
    assert loaded.kind == "deterministic bundle"
    robots = evaluate(loaded.unit_policy, task, SEEDS)
    networks = evaluate(lambda one: network.act(one, None), task, SEEDS)
    for robot, trained in zip(robots, networks, strict=True):
        assert robot.episode_return == pytest.approx(trained.episode_return, abs=1e-2)


def test_a_stochastic_bundle_repeats_its_noise_by_seed(bundle, task, observations):
    first, second, other = (sacpipe.load_policy(bundle, stochastic=True, seed=seed) for seed in (1, 1, 2))
    assert first.kind == "stochastic bundle"
    actions = [[one.act(observations.rows(row)) for row in range(5)] for one in (first, second, other)]
    np.testing.assert_array_equal(actions[0], actions[1])
    assert not np.array_equal(actions[0], actions[2])


@pytest.mark.parametrize("stochastic", [True, False])
def test_simulate_runs_it(bundle, stochastic):
    name = "softlearning/MultiGoal-Default-v0"
    found = [
        simulate(str(bundle), task=name, episodes=2, seed=3, stochastic=stochastic, video=None)
        for _ in range(2)
    ]
    assert found[0] == found[1]
    assert found[0].kind.startswith("stochastic" if stochastic else "deterministic")
