"""Runs with several environments: exact resume, updates per transition, lag, processes, and their errors."""

import json
import os

import numpy as np
import pytest
from folder_digest import sha256_tree
from small_run import KEY, PARAMS, Killer, KillError, Onlooker, make_params, rows, run_once

from sacpipe.core.errors import ConfigError, InterruptedRunError, SimulatorError
from sacpipe.core.seeding import episode_seed
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.replay.pool.transitions import Transitions
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

SHORT = PARAMS["task"] | {"options": {"max_episode_steps": 20}}
SLOW = {"suite": "gymnasium", "id": "slow_task:Slow-v0", "options": {}, "metrics": []}


def make_several(num_environments=3, **changes):
    """Return params whose episodes end at different steps: some reach the goal, some the limit of 20 steps."""
    training = PARAMS["training"] | {"num_environments": num_environments} | changes.pop("training", {})
    return make_params(training=training, **{"task": SHORT} | changes)


def make_slow(num_environments=2, *, processes=True, **options):
    training = {"environment_processes": processes, "total_steps": 40, "random_steps": 10}
    return make_several(num_environments, task=SLOW | {"options": options}, training=training)


@pytest.mark.slow
def test_one_environment_has_the_seeds_and_bytes_of_a_run_without_the_param(tmp_path):
    """tests/signature.py holds the bytes; in a process, they are the same."""
    run_once(tmp_path / "here")
    run_once(tmp_path / "apart", make_params(training=PARAMS["training"] | {"environment_processes": True}))
    assert sha256_tree(tmp_path / "apart" / "out") == sha256_tree(tmp_path / "here" / "out")
    assert not [row for row in rows(tmp_path / "here") if "policy_lag" in row]


@pytest.mark.parametrize(
    ("stop", "changes"),
    [
        (2, {}),
        (17, {"training": {"policy_lag_rounds": 1}}),
        (33, {"training": {"policy_lag_rounds": 1, "updates_per_step": 0.5}}),
        pytest.param(
            47,
            {"task": SHORT | {"options": {"max_episode_steps": 20, "image_size": 8}}},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["random", "lag", "lag and few updates", "images"],
)
def test_interrupted_gives_the_bytes_of_uninterrupted(tmp_path, stop, changes):
    if "task" in changes:
        network = {"name": "conv", "channels": [2], "hidden_dims": [8]}
        changes |= {"algorithm__network": network, "engine": {"name": "autograd", "num_threads": 1}}
    params = make_several(**changes)
    run_once(tmp_path / "whole", params)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", params, onlooker=Onlooker(stops={stop}))
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


class EarlyKiller(Killer):
    """Stands for a kill after round 38, at step 114; checkpoints are at 90 and 120."""

    def should_stop(self):
        self.calls += 1
        if self.calls == 38:
            raise KillError
        return False


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0, 1])
def test_killed_and_stopped_at_every_round_gives_the_same_bytes(tmp_path, lag):
    params = make_several(training={"policy_lag_rounds": lag})
    run_once(tmp_path / "whole", params)
    with pytest.raises(KillError):
        run_once(tmp_path / "cut", params, onlooker=EarlyKiller())
    for _ in range(20):
        with pytest.raises(InterruptedRunError):
            run_once(tmp_path / "cut", params, onlooker=Onlooker(stops={1}))
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
def test_processes_give_the_bytes_and_so_does_a_change_of_place(tmp_path):
    """With a lag, the simulators step while the learner updates; nothing depends on who is first."""
    lag = {"policy_lag_rounds": 1}
    run_once(tmp_path / "here", make_several(training=lag))
    apart = make_several(training=lag | {"environment_processes": True})
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "apart", apart, onlooker=Onlooker(stops={23}))
    run_once(tmp_path / "apart", apart)
    assert sha256_tree(tmp_path / "apart" / "out") == sha256_tree(tmp_path / "here" / "out")


def test_the_pool_has_whole_episodes_in_the_order_of_their_starts(tmp_path):
    report = run_once(tmp_path, make_several())
    pool = ReplayPool.open(tmp_path / "out" / "pool")
    checked = pool.check()
    assert (checked.transitions, checked.episodes) == (150, report.episodes + 3)
    first = Transitions.joined(map(pool.read, pool.segments))
    environment = make_several().task.make()
    for episode in range(3):
        start = environment.reset(episode_seed(3, "train", episode))
        row = int(np.flatnonzero(first.episode_ids == episode)[0])
        np.testing.assert_array_equal(first.observations.vector[row], start.vector)
    ends = [row for row in rows(tmp_path) if "episode/return" in row]
    assert [row["env_steps"] for row in ends] == sorted({row["env_steps"] for row in ends})
    assert len(ends) == report.episodes


def test_updates_random_actions_and_intervals_count_transitions(tmp_path):
    """As with one environment: 130 updates after 20 random steps; an interval is due in the round that passes it."""
    report = run_once(tmp_path, make_several())
    assert report.gradient_steps == 130
    updates = [(row["env_steps"], row["gradient_steps"]) for row in rows(tmp_path) if "critic/loss" in row]
    assert updates == [(27, 7), (51, 31), (75, 55), (102, 82), (126, 106), (150, 130)]
    evaluations = [row["env_steps"] for row in rows(tmp_path) if "evaluation/stochastic/return_mean" in row]
    assert evaluations == [0, 51, 102, 150]


def test_each_environment_has_noise_of_its_own(tmp_path):
    run_once(tmp_path, make_several())
    pool = ReplayPool.open(tmp_path / "out" / "pool")
    first = pool.read(pool.segments[0])
    actions = [first.actions[first.episode_ids == episode][0].tolist() for episode in range(2)]
    assert actions[0] != actions[1]


@pytest.mark.parametrize(("lag", "expected"), [(0, 0.0), (1, 6.0)])
def test_the_lag_of_the_acting_policy_is_measured(tmp_path, lag, expected):
    """A round has 3 transitions and so 6 updates."""
    training = {"policy_lag_rounds": lag, "updates_per_step": 2}
    run_once(tmp_path, make_several(training=training))
    found = [row["policy_lag"] for row in rows(tmp_path) if "policy_lag" in row]
    assert found[1:] == [expected] * 5  # in the first row, the updates begin
    assert 0 <= found[0] <= expected


def test_an_extended_run_is_the_longer_run(tmp_path):
    lag = {"policy_lag_rounds": 1}
    run_once(tmp_path, make_several(training=lag), key=KEY)
    longer = make_several(training=lag | {"total_steps": 180, "extends": KEY})
    run = open_run(longer, tmp_path / "longer", "longer", base=tmp_path / "work")
    train(run, lambda: False, Onlooker())
    report = publish(run, tmp_path / "longer-out")
    run.close()
    other = run_once(tmp_path / "straight", make_several(training=lag | {"total_steps": 180}))
    assert (report.policy_sha256, report.pool_sha256) == (other.policy_sha256, other.pool_sha256)


def test_a_simulator_that_does_not_repeat_itself_begins_its_next_episode(tmp_path, caplog):
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, make_several(), onlooker=Onlooker(stops={12}))
    other = make_several(task=SHORT | {"options": {"max_episode_steps": 20, "force_limit_n": 3.0}})
    report = run_once(tmp_path, other)
    assert caplog.text.count("does not repeat itself: step 0 of episode") == 3
    assert report.determinism == "statistical"
    assert ReplayPool.open(tmp_path / "out" / "pool").check().episodes == report.episodes + 3


def test_a_checkpoint_names_episodes_environments_and_what_waits(tmp_path):
    params = make_several(training={"policy_lag_rounds": 1})
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path, params, onlooker=Onlooker(stops={12}))
    state = json.loads((tmp_path / "work/checkpoints/step-000000000036/state.json").read_text())
    assert len(state["episodes"]) == 3
    assert state["acting_gradient_steps"] == 13  # of the round before: 33 - 20
    assert state["pool"]["open_transitions"] + len(state["pool"]["segments"]) * 40 < 36


@pytest.mark.slow
def test_a_simulator_that_fails_is_named_with_environment_and_episode(tmp_path):
    params = make_slow(then="raise", at=7, spared_pid=os.getpid())
    where = (
        rf"environment 0 of 2, episode 0 of the run \(seed {episode_seed(3, 'train', 0)}\): task .*, step 8: "
    )
    with pytest.raises(SimulatorError, match=where) as caught:
        run_once(tmp_path, params)
    assert caught.value.retryable


def test_a_simulator_that_fails_here_is_named_too(tmp_path):
    run = open_run(make_several(), tmp_path, "k")

    def fail():
        raise SimulatorError("no contact")

    run.environments[2]._handle.finish_step = fail
    with pytest.raises(
        SimulatorError, match=r"environment 2 of 3, episode 2 of the run \(seed \d+\): no contact"
    ):
        train(run, lambda: False, Onlooker())
    run.close()


@pytest.mark.slow
def test_a_process_that_dies_stops_the_run_and_a_retry_goes_on_to_the_same_bytes(tmp_path):
    run_once(tmp_path / "whole", make_slow(processes=False))
    params = make_slow(then="die", at=17, marker=str(tmp_path / "died"), spared_pid=os.getpid())
    with pytest.raises(
        SimulatorError, match=r"environment \d of 2, episode \d of the run.*died: signal SIGKILL"
    ):
        run_once(tmp_path / "cut", params)
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
def test_processes_end_with_the_run_though_opening_fails(tmp_path, monkeypatch):
    started = []
    monkeypatch.setattr(
        "sacpipe.training.run.Run.start_clock", lambda run: started.append(run) or open_run(None, None, "")
    )
    with pytest.raises(AttributeError):
        open_run(make_slow(), tmp_path, "k")
    (run,) = started
    assert [environment._handle._child.returncode for environment in run.environments] == [0, 0]


@pytest.mark.parametrize(
    ("training", "message"),
    [
        ({"num_environments": 0}, "num_environments: Input should be greater than or equal to 1"),
        (
            {"num_environments": 4},
            r"total_steps must be a multiple of num_environments \(4\).*next multiple is 152",
        ),
        ({"policy_lag_rounds": 2}, "policy_lag_rounds: Input should be less than or equal to 1"),
    ],
)
def test_params_that_give_no_whole_round_are_refused(training, message):
    with pytest.raises(ConfigError, match=message):
        make_several(training=training)
