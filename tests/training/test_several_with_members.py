"""Several environments with what samplers, learners and evaluations keep: the same rules, after whole rounds."""

import pytest
from folder_digest import sha256_tree
from small_run import KEY, PARAMS, Onlooker, make_params, rows, run_once

from sacpipe.algorithms import ALGORITHMS
from sacpipe.core.errors import ConfigError, InterruptedRunError
from sacpipe.training.loop import train
from sacpipe.training.outputs import publish
from sacpipe.training.resume import open_run

GOALS = {"suite": "goal_task:GoalTask", "id": "point-v0", "options": {}, "metrics": ["is_success"]}
HINDSIGHT = {"name": "hindsight", "strategy": "episode", "relabelled_share": 0.8}
PRIORITISED = {"name": "prioritised", "alpha": 0.6, "beta": 0.4, "beta_steps": 100, "epsilon": 1e-6}
N_STEP = {"name": "n_step", "num_steps": 3}
AUTOGRAD = {"name": "autograd", "num_threads": 1}


def several(count=3, *, changes=None, **training):
    training = PARAMS["training"] | {"num_environments": count, "policy_lag_rounds": 1} | training
    return make_params(training=training, **changes or {})


def lsp(**changes):
    return {"algorithm": ALGORITHMS.find("lsp").example().as_tree() | changes, "engine": AUTOGRAD}


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [HINDSIGHT, PRIORITISED, N_STEP], ids=lambda sampler: sampler["name"])
def test_interrupted_in_processes_gives_the_bytes_of_uninterrupted_here(tmp_path, sampler):
    """Hindsight computes rewards in the run's own process, wherever the simulators are."""
    changes = {"task": GOALS, "replay__sampler": sampler}
    run_once(tmp_path / "here", several(changes=changes))
    apart = several(changes=changes, environment_processes=True)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "apart", apart, onlooker=Onlooker(stops={29}))
    run_once(tmp_path / "apart", apart)
    assert sha256_tree(tmp_path / "apart" / "out") == sha256_tree(tmp_path / "here" / "out")


def test_a_task_without_rewards_is_refused_before_a_process_starts(tmp_path, monkeypatch):
    monkeypatch.setattr("sacpipe.training.run.open_environments", lambda *_: pytest.fail("a process started"))
    changes = {"task": GOALS | {"options": {"has_rewards": False}}, "replay__sampler": HINDSIGHT}
    with pytest.raises(ConfigError, match=r"whose `compute_rewards` returns None"):
        open_run(several(changes=changes, environment_processes=True), tmp_path, "k")


def test_a_learner_that_remembers_its_episode_has_one_environment(tmp_path):
    with pytest.raises(ConfigError) as caught:
        open_run(several(changes=lsp(smoothing=0.5)), tmp_path, "k")
    assert str(caught.value) == (
        "params.yaml: training.num_environments: expected 1, found 3, as the algorithm 'lsp' explores by what "
        "it remembers of its one running episode. Use 1, or another algorithm."
    )
    open_run(several(changes=lsp(smoothing=0.0)), tmp_path, "k").close()


@pytest.mark.slow
def test_one_environment_with_a_lag_resumes_what_the_learner_remembers(tmp_path):
    """The action of the next step is chosen before the checkpoint, and the episode's memory is that after it."""
    params = several(1, changes=lsp(smoothing=0.5), environment_processes=True, total_steps=60)
    run_once(tmp_path / "whole", params)
    with pytest.raises(InterruptedRunError):
        run_once(tmp_path / "cut", params, onlooker=Onlooker(stops={37}))
    run_once(tmp_path / "cut", params)
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")


STOPS = [
    (50, 20, 3, 51),
    (50, 50, 3, 51),
    (50, 51, 3, 102),
    (10, 10, 3, 12),
    (10, 11, 3, 12),
    (40, 20, 50, 50),
]


@pytest.mark.parametrize(("interval", "random_steps", "count", "steps"), STOPS)
def test_a_return_ends_a_run_after_a_round(tmp_path, interval, random_steps, count, steps):
    """The first round that reaches an evaluation and has updates: not before `min_steps`, which is known before."""
    intervals = {"evaluation_interval_steps": interval, "random_steps": random_steps}
    params = several(count, stop_at_return=-1e9, keep="best", **intervals)
    report = run_once(tmp_path, params)
    assert report.env_steps == params.training.min_steps == steps
    assert report.gradient_steps == steps - random_steps
    name = "evaluation/deterministic/return_mean"
    found = {row["env_steps"]: row[name] for row in rows(tmp_path) if name in row}
    assert report.kept.return_mean == max(found.values()) == found[report.kept.env_steps]


def test_a_run_that_a_return_ended_is_extended_to_the_bytes_of_the_longer_run(tmp_path):
    run_once(tmp_path, several(stop_at_return=-1e9), key=KEY)
    run = open_run(several(extends=KEY), tmp_path / "longer", "longer", base=tmp_path / "work")
    train(run, lambda: False, Onlooker())
    report = publish(run, tmp_path / "longer-out")
    run.close()
    straight = run_once(tmp_path / "straight", several())
    assert (report.policy_sha256, report.pool_sha256) == (straight.policy_sha256, straight.pool_sha256)
