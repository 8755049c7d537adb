"""What is SAC's own; the rules of every learner are in test_learners.py."""

import numpy as np
import pytest
import torch
from bundle_factories import make_spec, term_tree
from factories import make_algorithm
from learning import SPEC, make_batch, make_learner

from sacpipe.core.errors import ConfigError, DivergenceError
from sacpipe.specs.observation import Observation


def test_diagnostics_by_hand():
    """Losses, values and the entropy of one update, computed again from the state before it."""
    learner, clone = make_learner(), make_learner()
    batch = make_batch()
    learner.update(batch)
    noise = torch.from_numpy(clone.draw_noise(16))
    with torch.no_grad():
        q = clone.critic(clone.critic_inputs.of(batch.observations), torch.from_numpy(batch.actions)).numpy()
        log_probs = clone.actor.sample(clone.actor.inputs.of(batch.observations), noise[1]).log_probs
    found = learner.diagnostics()
    assert found["critic/q_mean"] == pytest.approx(q.mean(), abs=1e-6)
    assert [found["critic/0/q_mean"], found["critic/1/q_mean"]] == pytest.approx(q.mean(axis=1), abs=1e-6)
    assert found["critic/loss"] == pytest.approx(found["critic/0/loss"] + found["critic/1/loss"])
    assert found["actor/entropy_nats"] == pytest.approx(-log_probs.mean().item(), rel=1e-5)
    assert found["temperature/entropy_gap_nats"] == pytest.approx(-2.0 + log_probs.mean().item(), rel=1e-5)
    assert found["temperature/value"] == 1.0
    assert found["actor/log_std_min"] <= found["actor/log_std_mean"] <= found["actor/log_std_max"]


def test_value_is_the_lower_critics():
    learner = make_learner()
    observation = Observation(SPEC.layout, np.ones(3, dtype=np.float32), {})
    with torch.no_grad():
        both = learner.critic.network(
            learner.critic_inputs.of(observation.rows(None)), torch.full((1, 2), 0.5), 2
        )
    assert learner.value(observation, np.full(2, 0.5, dtype=np.float32)) == both.min().item()


def test_divergence_names_the_loss_and_the_row():
    learner, batch = make_learner(), make_batch()
    batch.rewards[3] = np.float32("nan")
    with pytest.raises(DivergenceError, match=r"critic error .* is nan at gradient step 1") as caught:
        learner.update(batch)
    assert caught.value.row == 3


def test_targets_follow_by_tau_at_the_interval():
    """tau 0.25, every second step: unchanged after one step; after two, a quarter of the way to the critics."""
    learner = make_learner(tau=0.25, target_update_interval=2)
    name = "network.trunk.mlp.layers.0.weight"
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
    assert "temperature/entropy_gap_nats" not in learner.diagnostics()


def test_presets_differ_in_the_actor_only_where_they_say():
    paper, softlearning = make_learner(), make_learner(actor_q="mean")
    for learner in (paper, softlearning):
        learner.update(make_batch())
    one, two = paper.diagnostics(), softlearning.diagnostics()
    assert one["critic/loss"] == two["critic/loss"]
    assert one["actor/loss"] > two["actor/loss"]  # the minimum is below the mean


def test_weight_decay_leaves_the_temperature_alone():
    adam = make_algorithm().adam.as_tree()
    plain, decayed = make_learner(), make_learner(adam=adam | {"weight_decay": 10.0})
    for learner in (plain, decayed):
        learner.update(make_batch())
    a, b = plain.state(), decayed.state()
    assert a["log_temperature"] == b["log_temperature"]
    name = "critic/network.head.weight"
    assert np.abs(b[name]).sum() < np.abs(a[name]).sum()


ASYMMETRIC = make_spec(
    observation=[
        term_tree("mass", 2, groups=["critic"]),
        term_tree("state", 3),
        term_tree("load", groups=["policy"]),
    ]
)


def test_critics_see_their_own_terms():
    """Policy: load and state, 4 entries; critics: state and mass, 5, with the 2 of the action."""
    learner = make_learner(spec=ASYMMETRIC, normalise_observations=True)
    assert learner.actor.network.trunk.mlp.layers[0].weight.shape == (1, 4, 8)
    assert learner.critic.network.trunk.mlp.layers[0].weight.shape == (2, 7, 8)
    observation = make_batch(spec=ASYMMETRIC).observations.rows(0).copy()
    action = learner.act(observation, None)
    before = learner.value(observation, action)
    observation["mass"][...] += 1.0
    assert learner.value(observation, action) != before
    assert [term.name for term in learner.policy().header.spec.observation] == ["state", "load"]


def test_critics_and_policy_normalise_shared_terms_alike():
    learner = make_learner(spec=ASYMMETRIC, normalise_observations=["state"])
    observations = make_batch(spec=ASYMMETRIC).observations
    for row in range(16):
        learner.observe(observations.rows(row))
    policy, critics = learner.actor.normaliser.mean.numpy(), learner.critic_inputs.normaliser.mean.numpy()
    np.testing.assert_allclose(policy[1:], critics[:3])  # load before state; state before mass
    seen = learner.critic_inputs.of(observations).vector.numpy()
    np.testing.assert_array_equal(seen[:, 3:], observations["mass"])
    np.testing.assert_allclose(seen[:, :3].mean(axis=0), np.zeros(3), atol=1e-5)


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
            "temperature.fixed.valeu: unknown key; expected one of value, mode",
        ),
        ({"network": {"name": "mpl"}}, "algorithm.network.name: trunk 'mpl': expected one of mlp"),
        (
            {"network": {"name": "mlp", "hidden_dims": [0]}},
            "algorithm.network.hidden_dims.0: Input should be",
        ),
    ],
)
def test_wrong_values_name_their_key_path(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_algorithm(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalise_observations": ["stat"]}, r"normalise_observations: expected .*\(state\), found 'stat'"),
        (
            {"network": {"name": "conv", "channels": [4], "hidden_dims": [4]}},
            "'conv' needs an image .* found none. Use `mlp`",
        ),
        (
            {"network": {"name": "sacpipe.networks.trunks.mlp:MLPConfig", "hidden_dims": [4]}},
            "name",
        ),
    ],
)
def test_what_does_not_fit_the_task_fails_when_it_is_built(changes, message):
    with pytest.raises(ConfigError, match=message):
        make_learner(**changes)
