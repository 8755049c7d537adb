"""A run that draws on a pool that was there before: how much, of which transitions, and as exactly as any other."""

import numpy as np
import pytest
from folder_digest import sha256_tree
from small_run import PARAMS, Killer, KillError, Onlooker, extended, make_params, run_once

from sacpipe.core.errors import ConfigError, DivergenceError, InterruptedRunError, PoolCorruptError
from sacpipe.core.files import sha256_file
from sacpipe.envs.point_mass import PointMassTask
from sacpipe.replay.pool.config import PoolConfig
from sacpipe.replay.pool.writer import PoolWriter
from sacpipe.specs.records import Transition

TURNED = {"actuator_angle_deg": 75.0}


def record_pool(folder, rewards=None):
    """Write 100 steps of random actions on a robot whose actuators are turned; `rewards` replaces some."""
    environment = PointMassTask.parse(PARAMS["task"] | {"options": TURNED}).make()
    config = PoolConfig(segment_transitions=40, format="compact")
    writer, random = PoolWriter.create(folder, environment.spec, config), np.random.default_rng(0)
    observation, episode = environment.reset(0), 0
    for number in range(100):
        action = random.uniform(-1.0, 1.0, 2).astype(np.float32)
        following, reward, terminated, truncated, _ = environment.step(action)
        reward = (rewards or {}).get(number, reward)
        writer.append(Transition(observation, action, reward, following, terminated, truncated, episode))
        observation = following
        if terminated or truncated:
            episode += 1
            observation = environment.reset(episode)
    writer.finish()
    return folder


def begin_with(pool, share, **changes):
    initial = {"sha256": sha256_file(pool / "manifest.json"), "share": share}
    return make_params(replay=PARAMS["replay"] | {"initial_pool": initial}, **changes)


@pytest.fixture
def pool(tmp_path):
    return record_pool(tmp_path / "pool")


@pytest.mark.slow
def test_killed_or_stopped_it_gives_the_bytes_of_uninterrupted(tmp_path, pool):
    params = begin_with(pool, 0.5)
    run_once(tmp_path / "whole", params, pool=pool)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", params, Onlooker(stops={45}), pool=pool)
    with pytest.raises(KillError):
        run_once(tmp_path / "cut", params, Killer(), pool=pool)
    run_once(tmp_path / "cut", params, pool=pool)
    run_once(tmp_path / "alone")
    whole, cut, alone = (sha256_tree(tmp_path / name / "out") for name in ("whole", "cut", "alone"))
    assert cut == whole != alone


@pytest.mark.parametrize(("share", "is_same"), [(1.0, True), (0.9, False)])
def test_a_share_of_one_trains_on_the_initial_pool_alone(tmp_path, pool, share, is_same):
    """Two runs whose own robots differ learn the same of it where they learn of nothing else."""
    algorithm = PARAMS["algorithm"] | {"normalise_observations": False}
    first, second = (
        run_once(
            tmp_path / str(len(options)),
            begin_with(pool, share, algorithm=algorithm, task=PARAMS["task"] | {"options": options}),
            pool=pool,
        )
        for options in ({}, TURNED)
    )
    assert first.pool_sha256 != second.pool_sha256
    assert (first.policy_sha256 == second.policy_sha256) is is_same


def test_the_newest_are_kept_and_a_divergence_names_the_pool(tmp_path):
    """The buffer holds 90 of the 100 transitions: the first ten are never drawn."""
    forgotten = record_pool(tmp_path / "forgotten", {9: 1e30})
    run_once(tmp_path / "a", begin_with(forgotten, 1.0), pool=forgotten)
    kept = record_pool(tmp_path / "kept", {10: 1e30})
    with pytest.raises(
        DivergenceError, match=r"Of the batch, transition 10 of the initial pool caused it \(reward 1e\+30\)"
    ):
        run_once(tmp_path / "b", begin_with(kept, 1.0), pool=kept)


@pytest.mark.slow
def test_a_finished_run_goes_on_with_it(tmp_path, pool):
    report = extended(tmp_path, 180, pool, replay=begin_with(pool, 1.0).replay.as_tree())
    assert (report.env_steps, report.gradient_steps) == (180, 160)
    straight = run_once(
        tmp_path / "straight", make_params(training=PARAMS["training"] | {"total_steps": 180})
    )
    assert report.policy_sha256 != straight.policy_sha256


def test_without_it_a_run_does_not_go_on_and_loses_nothing(tmp_path, pool):
    params = begin_with(pool, 0.5)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, params, Onlooker(stops={40}), pool=pool)
    before = sha256_tree(tmp_path / "work")
    with pytest.raises(ConfigError, match=r"replay\.initial_pool: expected a replay pool in .*elsewhere"):
        run_once(tmp_path, params, pool=tmp_path / "elsewhere")
    segment = pool / "segment-0000000040.safetensors"
    segment.chmod(0o644)
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)
    with pytest.raises(PoolCorruptError, match=r"segment-0000000040\.safetensors: expected SHA-256"):
        run_once(tmp_path, params, pool=pool)
    assert sha256_tree(tmp_path / "work") == before
