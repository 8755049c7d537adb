"""A run that was stopped, killed or extended gives the bytes of a run that was left alone, or is refused by name."""

import shutil

import pytest
from folder_digest import sha256_tree
from small_run import KEY, PARAMS, Killer, KillError, Onlooker, extended, make_params, run_once

from sacpipe.algorithms import ALGORITHMS
from sacpipe.core.errors import (
    CheckpointError,
    InterruptedRunError,
)
from sacpipe.envs import point_mass
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.training.resume import open_run

AUTOGRAD = {"name": "autograd", "num_threads": 1}
NATIVE = {"name": "native", "precision": "float32"}
OTHER_PHYSICS = {"force_limit_n": 3.0}


@pytest.mark.parametrize("stops", [{1}, {19, 33}, {30, 31, 40, 77}, {149}])
@pytest.mark.slow
def test_interrupted_gives_the_bytes_of_uninterrupted(tmp_path, stops):
    run_once(tmp_path / "whole")
    onlooker = Onlooker()
    for _ in stops:
        onlooker.stops = stops
        with pytest.raises(InterruptedRunError, match="continues from it"):
            run_once(tmp_path / "cut", onlooker=onlooker)
    run_once(tmp_path / "cut", onlooker=Onlooker())
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"algorithm": ALGORITHMS.find("td3").example().as_tree(), "engine": AUTOGRAD},
        {"algorithm": ALGORITHMS.find("sql").example().as_tree(), "engine": AUTOGRAD},
        {"algorithm": ALGORITHMS.find("tqc").example().as_tree(), "engine": NATIVE},
        {"algorithm": ALGORITHMS.find("lsp").example().as_tree() | {"smoothing": 0.9}, "engine": AUTOGRAD},
        {
            "algorithm__network": {"name": "conv", "channels": [2], "hidden_dims": [8]},
            "engine": AUTOGRAD,
            "task__options": {"image_size": 8},
            "task__metrics": ["is_success", "distance_m"],
        },
    ],
    ids=["td3", "sql", "tqc", "smoothed latents", "images and metrics"],
)
def test_interrupted_by_any_algorithm_and_with_images_too(tmp_path, changes):
    params = make_params(**changes)
    run_once(tmp_path / "whole", params)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", params, onlooker=Onlooker(stops={77}))
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "algorithm", "training"),
    [
        (59, {"policy_delay": 3}, {}),
        (60, {}, {"log_interval_steps": 1}),
        (62, {}, {"log_interval_steps": 5, "updates_per_step": 0.05}),
    ],
    ids=["policy moved before", "logged between", "no update since"],
)
def test_metrics_are_the_same_where_the_last_update_was_before_the_interruption(
    tmp_path, stop, algorithm, training
):
    params = make_params(
        algorithm=ALGORITHMS.find("td3").example().as_tree() | algorithm,
        engine=AUTOGRAD,
        training=PARAMS["training"] | training,
    )
    run_once(tmp_path / "whole", params)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", params, onlooker=Onlooker(stops={stop}))
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
def test_killed_between_checkpoints_gives_the_same_bytes(tmp_path):
    run_once(tmp_path / "whole")
    with pytest.raises(KillError):
        run_once(tmp_path / "cut", onlooker=Killer())
    run_once(tmp_path / "cut")
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
def test_torn_checkpoint_is_passed_over_for_the_one_before(tmp_path):
    run_once(tmp_path / "whole")
    onlooker = Onlooker(stops={100})
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", onlooker=onlooker)
    newest = sorted((tmp_path / "cut" / "work" / "checkpoints").iterdir())[-1] / "arrays.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1])
    run_once(tmp_path / "cut")
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


def test_a_checkpoint_of_another_stage_key_is_refused(tmp_path):
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, onlooker=Onlooker(stops={40}))
    with pytest.raises(CheckpointError, match="belongs to stage key"):
        run_once(tmp_path, key="another")


def test_a_finished_run_is_published_again_without_training(tmp_path):
    """Where DVC could not take the outputs, hours of training must not start over."""
    run_once(tmp_path)
    before = sha256_tree(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    onlooker = Onlooker()
    run_once(tmp_path, onlooker=onlooker)
    assert onlooker.steps == []
    assert sha256_tree(tmp_path / "out") == before


def test_a_simulator_that_does_not_repeat_itself_is_named(tmp_path, caplog):
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, onlooker=Onlooker(stops={47}))
    other = make_params(task=PARAMS["task"] | {"options": OTHER_PHYSICS})
    report = run_once(tmp_path, other)
    assert "does not repeat itself: step 0 of episode 0" in caplog.text
    assert report.determinism == "statistical"
    assert report.env_steps == 150
    ReplayPool.open(tmp_path / "out" / "pool").check()


def test_the_tier_stays_statistical_once_it_is(tmp_path):
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, onlooker=Onlooker(stops={47}))
    other = make_params(task=PARAMS["task"] | {"options": OTHER_PHYSICS})
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, other, onlooker=Onlooker(stops={20}))
    assert run_once(tmp_path, other).determinism == "statistical"


@pytest.mark.slow
def test_an_extended_run_is_the_longer_run(tmp_path):
    """180 steps in one go or 150 and then 30 more: the same policy and pool, and the shorter run stays."""
    before = run_once(tmp_path, key=KEY)
    work = sha256_tree(tmp_path / "work" / "checkpoints")
    report = extended(tmp_path, 180)
    straight = run_once(
        tmp_path / "straight", make_params(training=PARAMS["training"] | {"total_steps": 180})
    )
    assert (report.policy_sha256, report.pool_sha256) == (straight.policy_sha256, straight.pool_sha256)
    assert report.policy_sha256 != before.policy_sha256
    assert sha256_tree(tmp_path / "work" / "checkpoints") == work


@pytest.mark.parametrize(
    ("total_steps", "changes", "message"),
    [
        (150, {}, "training.total_steps is 150"),
        (180, {"seed": 9}, "seed differ from its params"),
        (180, {"algorithm": PARAMS["algorithm"] | {"tau": 0.1}}, r"algorithm\.tau differ"),
        (
            180,
            {"replay__capacity": 91},
            r"replay\.capacity differ from its params\. Only training\.total_steps, training\.stop_at_return, "
            r"training\.environment_processes and replay\.initial_pool may; set",
        ),
    ],
)
def test_what_cannot_be_extended_is_refused(tmp_path, total_steps, changes, message):
    with pytest.raises(CheckpointError, match=message):
        extended(tmp_path, total_steps, **changes)


def test_extending_a_run_that_is_not_here_is_refused(tmp_path):
    params = make_params(training=PARAMS["training"] | {"total_steps": 180, "extends": KEY})
    with pytest.raises(CheckpointError, match="holds no checkpoint of it"):
        open_run(params, tmp_path / "longer", "longer", base=tmp_path / "nowhere")


def test_a_simulator_that_repeats_its_observations_with_other_rewards_is_named(tmp_path, caplog, monkeypatch):
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, onlooker=Onlooker(stops={47}))
    monkeypatch.setattr(point_mass, "_STEP_COST", 0.2)
    report = run_once(tmp_path)
    assert "does not repeat itself: step 0 of episode 0" in caplog.text
    assert report.determinism == "statistical"
