"""The contract of every learner in the table."""

import numpy as np
import pytest
import torch
from factories import make_algorithm, make_spec

from sacpipe.algorithms import ALGORITHMS
from sacpipe.algorithms.adam import Adam
from sacpipe.algorithms.sac import SACConfig
from sacpipe.core.errors import CheckpointError, ConfigError, DivergenceError
from sacpipe.specs.records import Batch

SPEC = make_spec(3, [(-2.0, 2.0)] * 2)


def make_learner(config_type=SACConfig, seed=0, **changes):
    return make_algorithm(config_type, **changes).build(SPEC, seed)


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


@pytest.fixture(params=ALGORITHMS, ids=lambda algorithm: algorithm.__name__)
def algorithm(request):
    return request.param


def test_same_seed_same_bits_and_other_seeds_differ(algorithm):
    first, second, other = make_learner(algorithm), make_learner(algorithm), make_learner(algorithm, seed=1)
    for step in range(3):
        for learner in (first, second, other):
            learner.update(make_batch(step))
    assert first.diagnostics() == second.diagnostics()
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
            learner.update(make_batch(step))
        assert whole.diagnostics() == resumed.diagnostics()
    assert states_equal(whole, resumed)


VARIANTS = [
    {},
    {"num_critics": 3, "actor_q": "mean", "normalise_observations": True, "hidden_dims": [9, 5, 7]},
    {"num_critics": 1, "hidden_dims": [32], "temperature": {"mode": "fixed", "value": 0.3}},
    {"log_std_min": -0.1, "log_std_max": 0.1, "hidden_dims": [16, 4], "target_update_interval": 2},
    {
        "temperature": {
            "mode": "automatic",
            "initial": 0.1,
            "learning_rate": 1e-2,
            "objective": "temperature",
            "target_entropy_per_dimension": -0.5,
        }
    },
]


def furthest(one, two):
    """Largest difference of two states, each array measured by its own largest entry."""
    pairs = [(one[name], two[name]) for name in one if one[name].dtype == np.float32]
    return max(float(np.abs(a - b).max() / max(1e-3, np.abs(b).max())) for a, b in pairs)


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("updates_before", [0, 1000])
def test_the_update_by_hand_is_the_update_by_autograd(algorithm, changes, updates_before):
    """From one state, a step of each: parameters, moments and targets agree to a few roundings of float32."""
    fast = make_learner(algorithm, seed=4, **changes)
    for step in range(updates_before):
        fast.observe(make_batch(step % 7).observations[step % 16])
        fast.update(make_batch(step % 7))
    reference = make_learner(algorithm, seed=5, **changes)
    reference.load_state(fast.state())
    for step in range(3):
        fast.update(make_batch(step + 20))
        reference.reference_update(make_batch(step + 20))
    assert furthest(fast.state(), reference.state()) < 2e-5
    assert fast.gradient_steps == reference.gradient_steps == updates_before + 3


def test_bfloat16_products_are_the_same_update_to_three_digits(algorithm):
    """bfloat16 keeps 8 bits: one step's gradients are a few parts in a hundred off, and not equal."""
    rough, reference = make_learner(algorithm, matmul_precision="bfloat16"), make_learner(algorithm)
    rough.update(make_batch())
    reference.reference_update(make_batch())
    moments = {name: value for name, value in reference.state().items() if name.endswith("mean")}
    found = rough.state()
    assert 1e-5 < furthest(moments, found) < 0.05
    assert {value.dtype for value in found.values()} == {value.dtype for value in reference.state().values()}


def test_the_comparison_sees_a_wrong_derivative(algorithm):
    """A discount a thousandth off moves the states further apart than the test above allows."""
    fast, reference = make_learner(algorithm), make_learner(algorithm, discount=0.989)
    fast.update(make_batch())
    reference.reference_update(make_batch())
    assert furthest(fast.state(), reference.state()) > 1e-4


def test_another_batch_size_is_taken_as_it_comes(algorithm):
    first, second = make_learner(algorithm), make_learner(algorithm)
    for size in (16, 5, 16):
        first.update(make_batch(size=size))
        second.reference_update(make_batch(size=size))
    assert furthest(first.state(), second.state()) < 2e-5


def test_diagnostics_need_an_update_and_change_nothing(algorithm):
    learner = make_learner(algorithm)
    with pytest.raises(ValueError, match="no update"):
        learner.diagnostics()
    learner.update(make_batch())
    before = learner.state()
    learner.diagnostics()
    after = learner.state()
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_diagnostics_by_hand(algorithm):
    """Losses, values and the entropy of one update, computed again from the state before it."""
    learner, clone_session = make_learner(algorithm), make_learner(algorithm)
    batch = make_batch()
    learner.update(batch)
    noise = torch.from_numpy(clone_session._draw_noise(16))
    with torch.no_grad():
        q = clone_session.critic(
            torch.from_numpy(batch.observations), torch.from_numpy(batch.actions)
        ).numpy()
        clone_session.actor.sample(torch.from_numpy(batch.next_observations), noise[0])
        _, log_probs = clone_session.actor.sample(torch.from_numpy(batch.observations), noise[1])
    found = learner.diagnostics()
    assert found["critic/q_mean"] == pytest.approx(q.mean(), abs=1e-6)
    assert [found["critic/0/q_mean"], found["critic/1/q_mean"]] == pytest.approx(q.mean(axis=1), abs=1e-6)
    assert found["critic/loss"] == pytest.approx(found["critic/0/loss"] + found["critic/1/loss"])
    assert found["actor/entropy_nats"] == pytest.approx(-log_probs.mean().item(), rel=1e-5)
    assert found["temperature/entropy_gap_nats"] == pytest.approx(-2.0 + log_probs.mean().item(), rel=1e-5)
    assert found["temperature/value"] == 1.0
    assert found["actor/log_std_min"] <= found["actor/log_std_mean"] <= found["actor/log_std_max"]


def test_value_is_the_lower_critics(algorithm):
    learner = make_learner(algorithm)
    observation, action = np.ones(3, dtype=np.float32), np.full(2, 0.5, dtype=np.float32)
    with torch.no_grad():
        both = learner.critic(torch.ones(1, 3), torch.full((1, 2), 0.5))
    assert learner.value(observation, action) == both.min().item()


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
    with pytest.raises(DivergenceError, match=r"critic error .* is nan at gradient step 1") as caught:
        learner.update(batch)
    assert caught.value.row == 3
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
    for step in range(3):
        learner.update(make_batch(step))
        assert learner.diagnostics()["temperature/value"] == pytest.approx(0.2)
    assert np.exp(learner.state()["log_temperature"]) == pytest.approx(0.2)


def test_presets_differ_in_the_actor_only_where_they_say():
    paper, softlearning = make_learner(), make_learner(actor_q="mean")
    for learner in (paper, softlearning):
        learner.update(make_batch())
    one, two = paper.diagnostics(), softlearning.diagnostics()
    assert one["critic/loss"] == two["critic/loss"]
    assert one["actor/loss"] > two["actor/loss"]  # the minimum is below the mean


@pytest.mark.slow
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
        make_algorithm(SACConfig, **changes)
