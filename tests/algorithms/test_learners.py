"""The contract of every learner in the table."""

import numpy as np
import pytest
import torch

from sacpipe.algorithms import ALGORITHMS
from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.sac import SACConfig
from sacpipe.core.errors import CheckpointError, ConfigError, DivergenceError
from sacpipe.core.records import Batch, EnvSpec

SPEC = EnvSpec.parse(
    {
        "task": "test/test",
        "observation": [{"name": "state", "size": 3, "unit": "m", "source": "test"}],
        "action": [{"name": f"a{i}", "unit": "N", "low": -2.0, "high": 2.0} for i in range(2)],
        "control_period_s": 0.1,
        "max_episode_steps": 10,
    }
)
SMALL = {"hidden_dims": [8, 8]}


def make_learner(config_type=SACConfig, seed=0, **changes):
    return config_type.parse(config_type.EXAMPLE | SMALL | changes).build(SPEC, seed)


def make_batch(seed=0, size=16):
    rng = np.random.default_rng(seed)

    def normal(*shape):
        return rng.standard_normal(shape, dtype=np.float32)

    return Batch(
        normal(size, 3), np.tanh(normal(size, 2)), normal(size), normal(size, 3), np.zeros(size, np.float32)
    )


def states_equal(first, second):
    a, b = first.state(), second.state()
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.EXAMPLE["name"])
def algorithm(request):
    return request.param


def test_same_seed_same_bits_and_other_seeds_differ(algorithm):
    first, second, other = make_learner(algorithm), make_learner(algorithm), make_learner(algorithm, seed=1)
    for step in range(3):
        assert first.update(make_batch(step)) == second.update(make_batch(step))
        other.update(make_batch(step))
    assert states_equal(first, second)
    assert not states_equal(first, other)


@pytest.mark.parametrize("normalised", [False, True])
def test_interrupted_equals_uninterrupted(algorithm, normalised):
    whole = make_learner(algorithm, normalise_observations=normalised)
    for step in range(4):
        whole.observe(make_batch(step).observations[0])
        whole.update(make_batch(step))
    state = whole.state()
    resumed = make_learner(algorithm, seed=9, normalise_observations=normalised)
    resumed.load_state(state)
    for step in range(4, 8):
        for learner in (whole, resumed):
            learner.observe(make_batch(step).observations[0])
        assert whole.update(make_batch(step)) == resumed.update(make_batch(step))
    assert states_equal(whole, resumed)


def test_state_is_a_copy(algorithm):
    learner = make_learner(algorithm)
    before = learner.state()
    learner.update(make_batch())
    assert not np.array_equal(before["log_temperature"], learner.state()["log_temperature"])


def test_foreign_state_is_refused(algorithm):
    learner = make_learner(algorithm)
    state = learner.state()
    missing = dict(state)
    del missing["log_temperature"]
    with pytest.raises(CheckpointError, match="log_temperature"):
        learner.load_state(missing)
    name = next(name for name in state if name.startswith("critic/"))
    with pytest.raises(CheckpointError, match="has shape"):
        learner.load_state(state | {name: np.zeros(3, dtype=np.float32)})


def test_actions_lie_in_the_unit_box_and_are_float32(algorithm):
    learner = make_learner(algorithm)
    for noise in (None, np.full(2, 50.0, dtype=np.float32)):
        action = learner.act(np.full(3, 1e3, dtype=np.float32), noise)
        assert action.dtype == np.float32
        assert action.shape == (2,)
        assert np.all(np.abs(action) <= 1.0)


def test_acting_leaves_the_learner_as_it_was(algorithm):
    first, second = make_learner(algorithm), make_learner(algorithm)
    for _ in range(10):
        first.act(np.ones(3, dtype=np.float32), np.ones(2, dtype=np.float32))
    assert states_equal(first, second)


def test_divergence_names_the_loss_and_keeps_the_parameters(algorithm):
    learner, untouched = make_learner(algorithm), make_learner(algorithm)
    batch = make_batch()
    batch.rewards[3] = np.float32("nan")
    with pytest.raises(DivergenceError, match="critic loss is nan at gradient step 1"):
        learner.update(batch)
    for name, value in untouched.policy().actor.state_dict().items():
        assert torch.equal(learner.policy().actor.state_dict()[name], value)


def test_targets_follow_by_tau_at_the_interval():
    """tau 0.25, every second step: unchanged after one step; after two, a quarter of the way to the critics."""
    learner = make_learner(tau=0.25, target_update_interval=2)
    name = "network.layers.0.weight"
    start = learner.state()[f"target_critic/{name}"]
    learner.update(make_batch(0))
    assert np.array_equal(learner.state()[f"target_critic/{name}"], start)
    learner.update(make_batch(1))
    state = learner.state()
    expected = start + 0.25 * (state[f"critic/{name}"] - start)
    np.testing.assert_allclose(state[f"target_critic/{name}"], expected, rtol=1e-6)


def test_fixed_temperature_does_not_move():
    learner = make_learner(temperature={"mode": "fixed", "value": 0.2})
    metrics = [learner.update(make_batch(step)) for step in range(3)]
    assert {row["temperature/value"] for row in metrics} == {0.2}
    assert np.exp(learner.state()["log_temperature"]) == pytest.approx(0.2)


def test_presets_differ_in_the_actor_only_where_they_say():
    paper, softlearning = make_learner(), make_learner(actor_q="mean")
    one, two = paper.update(make_batch()), softlearning.update(make_batch())
    assert one["critic/loss"] == two["critic/loss"]
    assert one["actor/loss"] > two["actor/loss"]  # the minimum is below the mean


def test_adam_is_pytorchs():
    generator = torch.Generator().manual_seed(0)
    ours = [torch.randn(3, 2, generator=generator), torch.randn((), generator=generator)]
    theirs = [torch.nn.Parameter(tensor.clone()) for tensor in ours]
    adam = Adam(ours, learning_rate=0.1, epsilon=1e-7)
    reference = torch.optim.Adam(theirs, lr=0.1, eps=1e-7)
    for _ in range(20):
        gradients = [torch.randn(tensor.shape, generator=generator) for tensor in ours]
        adam.step(gradients)
        for parameter, gradient in zip(theirs, gradients, strict=True):
            parameter.grad = gradient
        reference.step()
    for mine, its in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, its.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discount": 1.0}, "algorithm.discount: Input should be less than 1"),
        ({"actor_learning_rate": -1.0}, "algorithm.actor_learning_rate: Input should be greater than 0"),
        ({"tau": float("inf")}, "algorithm.tau: Input should be a finite number"),
        ({"num_critics": True}, "algorithm.num_critics: Input should be a valid integer"),
        ({"log_std_min": 3.0}, "log_std_min must be below log_std_max"),
        ({"dicsount": 0.9}, "algorithm.dicsount: unknown key; expected one of .*discount"),
        ({"temperature": {"mode": "auto"}}, "algorithm.temperature: .*'automatic', 'fixed'"),
        (
            {"temperature": {"mode": "fixed", "valeu": 1.0}},
            "temperature.fixed.valeu: unknown key; expected one of mode, value",
        ),
    ],
)
def test_wrong_values_name_their_key_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        SACConfig.parse(SACConfig.EXAMPLE | changes, where="algorithm")
