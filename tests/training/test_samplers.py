"""Samplers in a training: refused by name before it, resumed exactly, and goals that hindsight learns to reach."""

import json

import numpy as np
import pytest
from folder_digest import sha256_tree
from small_run import KEY, PARAMS, Onlooker, extended, make_params, rows, run_once

from sacpipe.algorithms import ALGORITHMS
from sacpipe.algorithms.sac import SAC, SACConfig
from sacpipe.algorithms.td_errors import find_td_errors
from sacpipe.core.errors import ConfigError, InterruptedRunError, MemberError
from sacpipe.core.files import sha256_file
from sacpipe.replay.samplers.prioritised import Prioritised
from sacpipe.training.checkpoint import intact_checkpoints
from sacpipe.training.loop import train
from sacpipe.training.resume import open_run

AUTOGRAD = {"name": "autograd", "num_threads": 1}
TORCH = {"name": "torch", "num_threads": 1, "matmul_precision": "float32"}
NATIVE = {"name": "native", "precision": "float32"}
TD3 = ALGORITHMS.find("td3").example().as_tree()
GOALS = {"suite": "goal_task:GoalTask", "id": "point-v0", "options": {}, "metrics": ["is_success"]}
UNIFORM = {"name": "uniform"}
N_STEP = {"name": "n_step", "num_steps": 3}
PRIORITISED = {"name": "prioritised", "alpha": 0.6, "beta": 0.4, "beta_steps": 100, "epsilon": 1e-6}
HINDSIGHT = {"name": "hindsight", "strategy": "future", "relabelled_share": 0.8}


class WithoutErrors(SACConfig):
    """SAC whose learner offers no TD errors."""

    name: str

    def build(self, spec, seed):
        return Silent(self, spec, seed)


class Silent(SAC):
    """Has no `td_errors`, as a learner of another package."""

    td_errors = None


def opened(tmp_path, **changes):
    return open_run(make_params(**changes), tmp_path / "work", "k")


def test_a_learner_without_td_errors_is_refused_by_name(tmp_path):
    algorithm = PARAMS["algorithm"] | {"name": "test_samplers:WithoutErrors"}
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path, algorithm=algorithm, engine=AUTOGRAD, replay__sampler=PRIORITISED)
    assert str(caught.value) == (
        "params.yaml: replay.sampler: 'prioritised' draws by TD errors, and Silent offers none: it has no "
        "`td_errors`. The algorithms 'sac', 'td3', 'sql', 'lsp' and 'tqc' offer them, with each of our engines. "
        "Use another algorithm or engine, or `sampler: {name: uniform}`."
    )


def test_the_refusal_names_the_algorithms_of_ours_that_offer_them(tmp_path):
    algorithm = PARAMS["algorithm"] | {"name": "test_samplers:WithoutErrors"}
    with pytest.raises(ConfigError) as caught:
        opened(tmp_path, algorithm=algorithm, engine=AUTOGRAD, replay__sampler=PRIORITISED)
    spec = make_params().task.make().spec
    for name in ALGORITHMS.ours:
        offers = find_td_errors(ALGORITHMS.find(name).example().build(spec, 0)) is not None
        assert (f"'{name}'" in str(caught.value)) == offers


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, r"found none and none in point_mass/point-mass-v0"),
        (
            {"task": GOALS | {"options": {"has_rewards": False}}},
            r"goals/point-v0, whose `compute_rewards` returns None",
        ),
    ],
)
def test_a_task_that_hindsight_cannot_use_is_refused(tmp_path, changes, fault):
    with pytest.raises(ConfigError, match=rf"^params\.yaml: replay\.sampler: expected .*{fault}"):
        opened(tmp_path, replay__sampler=HINDSIGHT, **changes)


@pytest.mark.parametrize("engine", [AUTOGRAD, TORCH, NATIVE, TORCH | {"num_threads": 2}])
@pytest.mark.parametrize("algorithm", [PARAMS["algorithm"], TD3], ids=["sac", "td3"])
def test_every_engine_of_ours_offers_td_errors(tmp_path, engine, algorithm):
    if engine["name"] == "torch" and algorithm is TD3:
        return  # has no update for it
    run = opened(tmp_path, algorithm=algorithm, engine=engine, replay__sampler=PRIORITISED)
    while run.env_steps < 40:
        run.act()
        run.store(run.step())
        if run.env_steps > 20:
            run.update()
    priorities = run.mixture.state()["own/priorities"]
    run.close()
    assert len({*priorities.tolist()}) > 10


def interrupted(tmp_path, params, stops):
    run_once(tmp_path / "whole", params)
    for stop in stops:
        with pytest.raises(InterruptedRunError):
            run_once(tmp_path / "cut", params, onlooker=Onlooker(stops={stop}))
    run_once(tmp_path / "cut", params)
    return sha256_tree(tmp_path / "cut" / "out"), sha256_tree(tmp_path / "whole" / "out")


@pytest.mark.slow
@pytest.mark.parametrize("sampler", [N_STEP, PRIORITISED, HINDSIGHT, HINDSIGHT | {"strategy": "episode"}])
def test_interrupted_gives_the_bytes_of_uninterrupted(tmp_path, sampler):
    params = make_params(task=GOALS, replay__sampler=sampler)
    cut, whole = interrupted(tmp_path, params, [19, 14, 70])
    assert cut == whole


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [90, 1000])
def test_an_extended_run_keeps_the_priorities(tmp_path, capacity):
    """Its buffer is longer than the finished run's where the capacity is."""
    replay = PARAMS["replay"] | {"capacity": capacity, "sampler": PRIORITISED}
    report = extended(tmp_path, 180, first={"replay": replay}, replay=replay)
    whole = make_params(replay=replay, training=PARAMS["training"] | {"total_steps": 180})
    assert report.policy_sha256 == run_once(tmp_path / "whole", whole).policy_sha256


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        (None, ("a", 0.5), {"own"}),
        (("a", 0.5), None, {"own"}),
        (("a", 0.5), ("b", 0.5), {"own"}),
        (("a", 0.5), ("a", 0.25), {"own", "initial_pool"}),
        (("a", 1.0), ("a", 0.5), {"initial_pool"}),
        (("a", 0.5), ("a", 1.0), {"initial_pool"}),
    ],
)
def test_an_extended_run_with_another_initial_pool_keeps_the_priorities_of_what_stays(
    tmp_path, first, then, kept
):
    """A run that goes on with another pool begins with new priorities there, and keeps those of its own."""
    pools = {}
    for name in ("a", "b"):
        run_once(tmp_path / name, make_params(seed=ord(name), training__total_steps=60 + ord(name) % 2 * 30))
        pools[name] = tmp_path / name / "out" / "pool"

    def replay(named):
        section = PARAMS["replay"] | {"sampler": PRIORITISED}
        if named is None:
            return section
        digest = sha256_file(pools[named[0]] / "manifest.json")
        return section | {"initial_pool": {"sha256": digest, "share": named[1]}}

    def folder(named):
        return None if named is None else pools[named[0]]

    run_once(tmp_path, make_params(replay=replay(first)), key=KEY, pool=folder(first))
    before = next(intact_checkpoints(tmp_path / "work" / "checkpoints", KEY)).arrays
    params = make_params(
        replay=replay(then), training=PARAMS["training"] | {"total_steps": 180, "extends": KEY}
    )
    run = open_run(params, tmp_path / "longer", "longer", base=tmp_path / "work", initial_pool=folder(then))
    state = run.mixture.state()
    for name in {key.partition("/")[0] for key in state}:
        array = f"sampler/{name}/priorities"
        if name in kept:
            np.testing.assert_array_equal(state[f"{name}/priorities"], before[array])
        else:
            assert len(state[f"{name}/priorities"]) == 0
    train(run, lambda: False, Onlooker())
    run.close()


@pytest.mark.slow
def test_another_sampler_gives_another_policy(tmp_path):
    """So the comparison above is of what the samplers did."""
    digests = set()
    for sampler in (UNIFORM, N_STEP, PRIORITISED, HINDSIGHT):
        params = make_params(task=GOALS, replay__sampler=sampler, training__total_steps=60)
        run_once(tmp_path / sampler["name"], params)
        digests.add(sha256_tree(tmp_path / sampler["name"] / "out"))
    assert len(digests) == 4


@pytest.mark.slow
def test_without_priorities_and_with_the_rows_of_uniform_it_trains_to_the_same_bytes(tmp_path, monkeypatch):
    class Plain:
        """The rows of `uniform`, in place of the tree's."""

        def __init__(self, view, generator, n):
            self.rows = generator.integers(0, len(view), size=n)

        def random(self, n):
            return np.zeros(n)

    def draw(sampler, view, generator, n):
        plain = Plain(view, generator, n)
        sampler._see(view)
        sampler._tree.find = lambda _targets: plain.rows
        return own(sampler, view, plain, n)

    own = Prioritised.__call__
    uniform = run_once(tmp_path / "uniform")
    monkeypatch.setattr(Prioritised, "__call__", draw)
    even = run_once(tmp_path / "even", make_params(replay__sampler=PRIORITISED | {"alpha": 0.0}))
    assert even.policy_sha256 == uniform.policy_sha256


def test_a_checkpoint_has_the_priorities(tmp_path):
    run_once(tmp_path, make_params(replay__sampler=PRIORITISED))
    newest = next(intact_checkpoints(tmp_path / "work" / "checkpoints", "k"))
    names = {name for name in newest.arrays if name.startswith("sampler/")}
    assert names == {"sampler/own/priorities", "sampler/own/highest", "sampler/own/counts"}
    assert newest.arrays["sampler/own/priorities"].shape == (90,)  # the buffer's capacity


def test_a_plain_samplers_checkpoint_has_nothing_of_it(tmp_path):
    run_once(tmp_path)
    newest = next(intact_checkpoints(tmp_path / "work" / "checkpoints", "k"))
    assert not [name for name in newest.arrays if name.startswith("sampler/")]


@pytest.mark.slow
def test_a_run_with_earlier_experience_has_a_state_for_each_pool(tmp_path, monkeypatch):
    manifest = run_once(tmp_path / "first", make_params(task=GOALS))
    digest = json.loads((tmp_path / "first/out/metrics.json").read_text())["pool_sha256"]
    assert manifest is not None
    pool = {"sha256": digest, "share": 0.5}
    params = make_params(task=GOALS, replay__sampler=PRIORITISED, replay__initial_pool=pool)
    for name, onlookers in (("whole", [Onlooker()]), ("cut", [Onlooker(stops={77}), Onlooker()])):
        for onlooker in onlookers:
            try:
                run_once(tmp_path / name, params, onlooker=onlooker, pool=tmp_path / "first/out/pool")
            except InterruptedRunError:
                continue
    assert sha256_tree(tmp_path / "cut" / "out") == sha256_tree(tmp_path / "whole" / "out")
    newest = next(intact_checkpoints(tmp_path / "cut" / "work" / "checkpoints", "k"))
    assert {"sampler/own/priorities", "sampler/initial_pool/priorities"} <= newest.arrays.keys()


@pytest.mark.parametrize("call", ["receive", "state"])
def test_an_error_of_the_sampler_names_it_and_the_step(tmp_path, monkeypatch, call):
    def fail(*_):
        raise ValueError("no")

    monkeypatch.setattr(Prioritised, call, fail)
    with pytest.raises(
        MemberError, match=rf"^step \d+: sampler 'prioritised': {call}\(\) raised ValueError: no"
    ):
        run_once(tmp_path, make_params(replay__sampler=PRIORITISED))


def test_statistics_of_a_goal_that_is_always_the_same_have_the_achieved_ones_too(tmp_path):
    deviations = []
    for sampler in (UNIFORM, HINDSIGHT):
        run = opened(tmp_path, task=GOALS | {"options": {"is_fixed": True}}, replay__sampler=sampler)
        for _ in range(60):
            run.act()
            steps = run.step()
            run.store(steps)
            run.end_episodes(steps)
        scale = run.learner.policy().network.normaliser.scale.numpy()
        columns = run.spec.layout.columns("goal")
        deviations.append(1 / scale[columns])
        run.close()
    assert (deviations[0] < 1e-3).all()
    assert (deviations[1] > 0.1).all()


LEARNING = {
    "task": GOALS,
    "algorithm__network": {"name": "mlp", "hidden_dims": [64, 64]},
    "algorithm__normalise_observations": False,
    "algorithm__critic_learning_rate": 2e-3,
    "algorithm__actor_learning_rate": 2e-3,
    "engine": NATIVE,
    "training": PARAMS["training"]
    | {
        "total_steps": 3000,
        "random_steps": 200,
        "batch_size": 128,
        "evaluation_interval_steps": 1500,
        "evaluation_episodes": 40,
        "log_interval_steps": 1500,
        "checkpoint_interval_steps": 3000,
    },
}


def success(tmp_path, sampler):
    """The last evaluation of 40 episodes."""
    params = make_params(**LEARNING, replay__capacity=3000, replay__sampler=sampler)
    run_once(tmp_path / sampler["name"], params)
    return rows(tmp_path / sampler["name"])[-1]


@pytest.mark.slow
def test_hindsight_learns_goals_that_uniform_draws_do_not(tmp_path):
    name = "evaluation/deterministic/metrics/is_success/last"
    found = {sampler["name"]: success(tmp_path, sampler)[name] for sampler in (HINDSIGHT, UNIFORM)}
    assert found["hindsight"] >= 0.9
    assert found["uniform"] <= 0.1
