"""The loop on the point mass: same bytes however often it is interrupted, and nothing looks over its shoulder."""

import json
import re

import numpy as np
import pytest
from folder_digest import sha256_tree
from small_run import OWN, PARAMS, Onlooker, make_params, rows, run_once

from sacpipe.algorithms import ALGORITHMS, sac_metrics
from sacpipe.algorithms.sac import SAC, SACConfig
from sacpipe.core.errors import (
    ConfigError,
    DivergenceError,
)
from sacpipe.core.seeding import episode_seed
from sacpipe.replay.pool.reader import ReplayPool
from sacpipe.training.loop import train
from sacpipe.training.metrics import METRICS, POLICY_LAG
from sacpipe.training.resume import open_run


@pytest.mark.slow
def test_same_params_same_bytes_and_another_seed_differs(tmp_path):
    for name in ("a", "b"):
        run_once(tmp_path / name)
    run_once(tmp_path / "c", make_params(seed=4))
    digests = [sha256_tree(tmp_path / name / "out") for name in "abc"]
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_a_parameter_that_is_not_finite_never_reaches_a_checkpoint(tmp_path):
    run = open_run(make_params(), tmp_path, "k")
    run.checkpoint()
    run.learner.policy().network.network.head.weight.data[0, 0, 0] = float("inf")
    with pytest.raises(
        DivergenceError, match=r"actor/network\.head\.weight holds a value that is not finite"
    ):
        run.checkpoint()
    run.close()
    assert open_run(make_params(), tmp_path, "k").env_steps == 0


MASTERS = [
    ("sac", "torch", "mlp"),
    ("sac", "autograd", "mlp"),
    ("td3", "autograd", "mlp"),
    *(
        pytest.param(algorithm, "autograd", trunk, marks=pytest.mark.acceptance)
        for algorithm, trunk in (("sql", "mlp"), ("lsp", "mlp"), ("tqc", "mlp"), ("sac", "conv"))
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(("algorithm", "engine", "trunk"), MASTERS)
def test_every_algorithm_masters_the_point_mass(tmp_path, algorithm, engine, trunk):
    """Random actions return about -50; within 2,000 steps the goal is reached from every start."""
    networks = {
        "mlp": {"name": "mlp", "hidden_dims": [64, 64]},
        "conv": {"name": "conv", "channels": [2], "hidden_dims": [64, 64]},
    }
    rates = {"tau": 0.05, "critic_learning_rate": 3e-3, "actor_learning_rate": 3e-3}
    others = {"network": networks[trunk], "discount": 0.97, "normalise_observations": False}
    example = OWN["algorithm"] if algorithm == "sac" else ALGORITHMS.find(algorithm).example().as_tree()
    own = {"reward_scale": 30.0, "num_particles": 16} if algorithm == "sql" else {}
    engines = {"torch": PARAMS["engine"], "autograd": {"name": "autograd", "num_threads": 1}}
    params = make_params(
        algorithm=example | rates | others | own,
        engine=engines[engine],
        task__options={"image_size": 8} if trunk == "conv" else {},
        replay=PARAMS["replay"] | {"capacity": 2000, "segment_transitions": 2000, "format": "full"},
        training=PARAMS["training"]
        | {
            "total_steps": 2000,
            "random_steps": 300,
            "batch_size": 64,
            "evaluation_interval_steps": 2000,
            "evaluation_episodes": 10,
            "checkpoint_interval_steps": 2000,
        },
    )
    report = run_once(tmp_path, params)
    first = next(row for row in rows(tmp_path) if row["env_steps"] == 0)
    assert first["evaluation/deterministic/return_mean"] < -30
    assert report.return_mean_deterministic > -16


@pytest.mark.slow
def test_evaluation_and_logging_change_nothing_in_training(tmp_path):
    run_once(tmp_path / "a")
    run_once(tmp_path / "b", make_params(training=PARAMS["training"] | {"evaluation_interval_steps": 150}))
    run_once(tmp_path / "c", make_params(training=PARAMS["training"] | {"log_interval_steps": 150}))
    policies = {(tmp_path / name / "out" / "policy.safetensors").read_bytes() for name in "abc"}
    assert len(policies) == 1


def test_the_pool_holds_every_step_once_with_the_ends_kept_apart(tmp_path):
    run_once(tmp_path)
    pool = ReplayPool.open(tmp_path / "out" / "pool")
    pool.check()
    assert [segment.transitions for segment in pool.segments] == [40, 40, 40, 30]
    read = [pool.read(segment) for segment in pool.segments]
    ids = np.concatenate([part.episode_ids for part in read])
    ends = np.concatenate([part.terminations + part.truncations for part in read])
    assert len(ids) == 150
    assert ends.max() == 1.0
    assert np.array_equal(np.flatnonzero(np.diff(ids)), np.flatnonzero(ends[:-1]))


def test_rows_hold_what_the_catalogue_names(tmp_path):
    """The training's metrics and the algorithm's; the task's own are `is_success` here.

    One environment at a time has no lag to measure.
    """
    report = run_once(tmp_path, make_params(task__metrics=["is_success"]))
    found = rows(tmp_path)
    names = {re.sub(r"/\d+/", "/{i}/", name) for row in found for name in row}
    learner = make_params().algorithm.build(make_params().task.make().spec, 0)
    found_names = {name.replace("is_success", "{name}") for name in names}
    assert found_names == (METRICS.keys() | learner.metrics().keys()) - {POLICY_LAG}
    evaluations = [row["env_steps"] for row in found if "evaluation/deterministic/return_mean" in row]
    assert evaluations == [0, 50, 100, 150]
    updates = [(row["env_steps"], row["gradient_steps"]) for row in found if "critic/loss" in row]
    assert updates == [(25, 5), (50, 30), (75, 55), (100, 80), (125, 105), (150, 130)]
    assert report.gradient_steps == 130
    curve = (tmp_path / "out" / "curve.csv").read_text().splitlines()
    assert curve[0] == "env_steps,policy,episode,seed,return,length"
    assert len(curve) == 1 + 4 * 2 * 2


def test_no_output_holds_wall_clock_or_place(tmp_path):
    run_once(tmp_path)
    text = b"".join(path.read_bytes() for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert str(tmp_path).encode() not in text
    assert b"steps_per_s" not in text
    assert b"steps_per_s" in (tmp_path / "work" / "throughput.jsonl").read_bytes()


@pytest.mark.parametrize(("ratio", "updates"), [(2, 260), (0.5, 65), (0.25, 32)])
def test_updates_follow_the_ratio(tmp_path, ratio, updates):
    """130 steps after the random ones: two an update, or one every second or fourth step."""
    report = run_once(tmp_path, make_params(training__updates_per_step=ratio))
    assert report.gradient_steps == updates


def test_the_clock_names_the_phases(tmp_path):
    run_once(tmp_path)
    lines = (tmp_path / "work" / "throughput.jsonl").read_text().splitlines()
    phases = {phase for line in lines for phase in json.loads(line)["phases_s"]}
    assert phases == {"act", "step", "store", "sample", "update", "evaluate", "checkpoint"}


def test_value_bias_is_the_first_value_minus_the_discounted_return(tmp_path):
    run = open_run(make_params(), tmp_path, "k")
    environment, learner = make_params().task.make(), run.learner
    biases = []
    for index in range(2):
        observation = environment.reset(episode_seed(3, "train/evaluation", index))
        value = learner.value(observation, learner.act(observation, None))
        came, discount, over = 0.0, 1.0, False
        while not over:
            step = environment.step(learner.act(observation, None))
            observation, over = step.observation, step.terminated or step.truncated
            came, discount = came + discount * step.reward, discount * 0.9
        biases.append(value - came)
    run.evaluate()
    run.close()
    row = json.loads((tmp_path / "metrics.jsonl").read_text())
    assert row["critic/value_bias"] == pytest.approx(sum(biases) / 2)


def test_divergence_names_step_term_and_transition_and_keeps_the_checkpoint(tmp_path):
    """A reward of 1e30 at step 70 is drawn sooner or later; its square overflows."""
    run = open_run(make_params(), tmp_path, "k")
    real = run.step

    def step():
        (found,) = real()
        return [found._replace(reward=1e30) if run.env_steps == 70 else found]

    run.step = step
    with pytest.raises(
        DivergenceError,
        match=r"step \d+: critic error .* is -1e\+30 at gradient step \d+.*transition 70 of this run's pool caused it \(reward 1e\+30\)",
    ):
        train(run, lambda: False, Onlooker())
    run.close()
    assert open_run(make_params(), tmp_path, "k").env_steps in (60, 90)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__updates_per_step": 0.3}, "updates_per_step must be a whole number, or one over"),
        ({"training__updates_per_step": 1.5}, "updates_per_step must be a whole number, or one over"),
        ({"training__updates_per_step": 0}, "training.updates_per_step.*greater than 0"),
        ({"training__extends": "abc"}, "training.extends: String should match pattern"),
        ({"training__random_steps": 150}, "random_steps must be below total_steps"),
        (
            {"engine": {"name": "autograd", "num_threads": 0}},
            "engine.num_threads: Input should be greater than or equal to 1, found 0",
        ),
        ({"engine__name": "jax"}, "engine.name: engine 'jax': expected one of"),
        ({"training__total_steps": "many"}, "training.total_steps: Input should be a valid integer"),
        ({"seed": -1}, "seed: Input should be greater than or equal to 0"),
        ({"replay__capacity": 0}, "replay.capacity"),
        (
            {"replay__initial_pool": {"sha256": "0", "share": 1}},
            r"replay\.initial_pool\.sha256: String should",
        ),
        ({"replay__initial_pool": {"sha256": "0" * 64, "share": 0}}, r"replay\.initial_pool\.share.*greater"),
        ({"replay__initial_pool": {"sha256": "0" * 64}}, r"replay\.initial_pool\.share: missing"),
    ],
)
def test_wrong_values_are_refused_by_key_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_params(**changes)


class UnwrittenPolicies(SACConfig):
    """Names a policy kind that is no registered member."""

    name: str

    def build(self, spec, seed):
        learner = SAC(self, spec, seed)
        policy = learner.policy()
        learner._policy = policy._replace(header=policy.header.replace(kind="secret"))
        return learner


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm__name": f"{__name__}:UnwrittenPolicies"}, "policy kind 'secret': expected one of"),
        (
            {
                "algorithm": ALGORITHMS.find("td3").example().as_tree(),
                "engine": {"name": "torch", "num_threads": 1, "matmul_precision": "float32"},
            },
            "engine.name: 'torch' can update SAC only",
        ),
        ({"task__options": {"image_size": 8}}, "algorithm.network.name: 'mlp' takes no images"),
    ],
)
def test_what_would_fail_later_fails_before_the_first_step(tmp_path, changes, message):
    with pytest.raises(ConfigError, match=message):
        open_run(make_params(**changes), tmp_path, "k")
    assert not list(tmp_path.iterdir())


def test_the_work_folder_has_what_the_learners_metrics_are(tmp_path):
    run_once(tmp_path)
    described = json.loads((tmp_path / "work" / "learner_metrics.json").read_text())
    assert described["critic/loss"]["unit"] == "reward²"
    metrics = sac_metrics.METRICS.items()
    assert described == {name: {"unit": metric.unit, "meaning": metric.meaning} for name, metric in metrics}
    assert not (tmp_path / "out" / "learner_metrics.json").exists()
