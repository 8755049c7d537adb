"""The best policy is kept, and a return ends a run: functions of the evaluations alone, so that runs resume exactly."""

import json

import pytest
from folder_digest import sha256_tree
from small_run import KEY, PARAMS, Killer, KillError, Onlooker, make_params, rows, run_once

from sacpipe.core.errors import CheckpointError, ConfigError
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.training.checkpoint import KeptEvaluation, KeptPolicy
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run


def with_training(seed=7, **changes):
    """With seed 7 the return rises, and falls at the end."""
    return make_params(seed=seed, training=PARAMS["training"] | changes)


def evaluations(folder):
    """Mean deterministic return by step."""
    name = "evaluation/deterministic/return_mean"
    return {row["env_steps"]: row[name] for row in rows(folder) if name in row}


@pytest.mark.slow
def test_the_kept_policy_is_that_of_the_best_evaluation(tmp_path):
    """It has the bytes of the policy of a run that ends there."""
    report = run_once(tmp_path / "whole", with_training(keep="best", evaluation_interval_steps=30))
    found = evaluations(tmp_path / "whole")
    best = max(found, key=found.__getitem__)
    assert 0 < best < 150
    assert report.kept == KeptEvaluation(env_steps=best, return_mean=found[best])
    assert report.compared()["kept_env_steps"] == best
    short = run_once(tmp_path / "short", with_training(total_steps=best))
    assert report.policy_sha256 == short.policy_sha256
    metrics = json.loads((tmp_path / "whole" / "out" / "metrics.json").read_text())
    assert metrics["kept"] == {"env_steps": best, "return_mean": found[best]}
    assert "kept" not in json.loads((tmp_path / "short" / "out" / "metrics.json").read_text())


def test_of_equal_evaluations_the_first_is_kept():
    kept, policies = KeptPolicy("best"), iter(["worse", "best"])
    policy = with_training().algorithm.build(with_training().task.make().spec, 0).policy()

    def drawn():
        next(policies)
        return policy

    for step, value in enumerate((-3.0, -1.0, -1.0, -2.0)):
        kept.consider(step, value, drawn)
    assert kept.evaluation == KeptEvaluation(env_steps=1, return_mean=-1.0)
    assert list(policies) == []


def test_a_checkpoint_without_its_kept_policy_is_refused():
    with pytest.raises(CheckpointError, match="expected the array kept_policy"):
        KeptPolicy("best").restore(KeptEvaluation(env_steps=1, return_mean=0.0), {})


@pytest.mark.slow
def test_a_return_ends_the_run_at_its_evaluation(tmp_path):
    """The outputs end there, with a row of updates; policy and pool are those of a run of that length."""
    run_once(tmp_path / "whole", with_training())
    found = evaluations(tmp_path / "whole")
    assert found[100] > max(found[0], found[50])
    report = run_once(tmp_path / "cut", with_training(stop_at_return=found[100], log_interval_steps=40))
    assert report.env_steps == 100
    assert evaluations(tmp_path / "cut") == {step: found[step] for step in (0, 50, 100)}
    updates = [row["env_steps"] for row in rows(tmp_path / "cut") if "critic/loss" in row]
    assert updates == [40, 80, 100]
    pool = ReplayPool.open(tmp_path / "cut" / "out" / "pool")
    pool.check()
    assert pool.transitions == 100
    short = run_once(tmp_path / "short", with_training(total_steps=100))
    assert (report.policy_sha256, report.pool_sha256) == (short.policy_sha256, short.pool_sha256)


def test_evaluations_before_the_first_update_end_nothing(tmp_path):
    """Every return reaches -1e9; updates begin after step 20."""
    report = run_once(tmp_path, with_training(stop_at_return=-1e9, evaluation_interval_steps=10))
    assert (report.env_steps, report.gradient_steps) == (30, 10)


def test_a_finished_run_that_a_return_ended_is_published_again_without_training(tmp_path):
    params = with_training(stop_at_return=-1e9)
    run_once(tmp_path, params)
    before, onlooker = sha256_tree(tmp_path / "out"), Onlooker()
    run_once(tmp_path, params, onlooker=onlooker)
    assert onlooker.steps == []
    assert sha256_tree(tmp_path / "out") == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "kept"),
    [({"seed": 3}, 50), ({"evaluation_interval_steps": 30, "stop_at_return": -55.0}, 120)],
    ids=["kept before the kill", "ended after the kill"],
)
def test_killed_gives_the_same_bytes(tmp_path, changes, kept):
    """The kill is at step 101, the checkpoint before at 90."""
    params = with_training(keep="best", **changes)
    assert run_once(tmp_path / "whole", params).kept.env_steps == kept
    with pytest.raises(KillError):
        run_once(tmp_path / "cut", params, onlooker=Killer())
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [{"stop_at_return": None}, {"stop_at_return": -1e9, "total_steps": 90}])
def test_a_run_that_a_return_ended_is_extended(tmp_path, wanted):
    """Up to its planned end without the return; or to the next evaluation that reaches it, or the last step."""
    run_once(tmp_path, with_training(stop_at_return=-1e9), key=KEY)
    params = with_training(**wanted | {"extends": KEY})
    run = open_run(params, tmp_path / "longer", "longer", base=tmp_path / "work")
    train(run, lambda: False, Onlooker())
    report = publish(run, tmp_path / "longer-out")
    run.close()
    steps = wanted.get("total_steps", 150)
    straight = run_once(tmp_path / "straight", with_training(total_steps=steps))
    assert report.env_steps == steps
    assert (report.policy_sha256, report.pool_sha256) == (straight.policy_sha256, straight.pool_sha256)


@pytest.mark.parametrize(
    ("interval", "random_steps", "steps"), [(50, 20, 50), (50, 50, 100), (10, 25, 30), (400, 20, 150)]
)
def test_the_steps_that_every_run_has_by_hand(interval, random_steps, steps):
    """The first evaluation after the random steps; without a return all steps."""
    changes = {"evaluation_interval_steps": interval, "random_steps": random_steps}
    assert with_training(stop_at_return=0.0, **changes).training.min_steps == steps
    assert with_training(**changes).training.min_steps == 150


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keep": "first"}, r"training\.keep: .*'last' or 'best'"),
        ({"stop_at_return": "high"}, r"training\.stop_at_return: Input should be a valid number"),
    ],
)
def test_wrong_values_are_refused_by_key_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        with_training(**changes)
