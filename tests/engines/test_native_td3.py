"""TD3's update by kernels against its update by autograd, from one state and with one noise."""

import numpy as np
import pytest
from learning import SPEC, furthest, make_batch, make_learner, without_noise
from test_torch_engine import ASYMMETRIC, LENGTHS, mlp

from sacpipe.algorithms.td3_native import NativeTD3
from sacpipe.core.errors import DivergenceError

VARIANTS = [
    {},
    {"policy_delay": 1, "normalise_observations": True, **mlp(9, 5, 7)},
    {"policy_delay": 3, "target_noise": 2.0, "target_noise_clip": 0.3, "tau": 0.2, **mlp(32)},
    {"target_noise": 0.0, **mlp(16, 4)},
    {
        "adam": {
            "betas": [0.5, 0.9],
            "epsilon": 1e-6,
            "weight_decay": 0.1,
            "schedule": {"name": "linear", "final": 0.1, "steps": 1001},
        }
    },
    {"spec": ASYMMETRIC, "normalise_observations": True},
    {"spec": ASYMMETRIC, "normalise_observations": ["mass", "load"], **mlp(7, 3)},
    mlp(300, 40),
    {"spec": ASYMMETRIC, **mlp(33, 65, 17)},
]


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize(("updates_before", "size"), LENGTHS)
def test_the_update_by_kernels_is_the_update_by_autograd(changes, updates_before, size):
    spec = changes.get("spec", SPEC)
    native = NativeTD3(make_learner("td3", seed=6, **changes))
    reference = make_learner("td3", seed=5, **changes)
    for step in range(updates_before):
        native.observe(make_batch(step % 7, spec=spec).observations.rows(step % 16))
        native.update(make_batch(step % 7, spec=spec, size=size))
    reference.load_state(native.state())
    reference.draw_noise = lambda size: native.noise[:size].copy()
    for step in range(3):
        native.update(make_batch(step + 20, spec=spec, size=size))
        reference.update(make_batch(step + 20, spec=spec, size=size))
        assert native.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)
    assert furthest(without_noise(native), without_noise(reference)) < 2e-5
    assert native.gradient_steps == reference.gradient_steps == updates_before + 3


def test_slow_copies_move_with_the_policy_alone():
    native = NativeTD3(make_learner("td3", policy_delay=3))
    states = [native.state()]
    for step in range(3):
        native.update(make_batch(step))
        states.append(native.state())
    for name in states[0]:
        moves = name.startswith(("actor/", "target_", "adam/actor"))
        for before, after in ((0, 1), (1, 2)):
            assert not moves or np.array_equal(states[before][name], states[after][name]), name
    weight = "trunk.mlp.layers.0.weight"
    for name in (f"actor/network.{weight}", f"target_critic/network.{weight}", f"target_actor/{weight}"):
        assert not np.array_equal(states[2][name], states[3][name]), name


def test_acting_values_and_loading_follow_the_kernels_memory():
    native, other = NativeTD3(make_learner("td3")), NativeTD3(make_learner("td3", seed=3))
    batch = make_batch()
    observation = batch.observations.rows(0)
    for step in range(4):
        native.update(make_batch(step))
    other.load_state(native.state())
    reference = make_learner("td3", seed=2)
    reference.load_state(native.state())
    for learner in (other, reference):
        np.testing.assert_allclose(learner.act(observation, None), native.act(observation, None), rtol=1e-6)
        value = learner.value(observation, batch.actions[0])
        assert value == pytest.approx(native.value(observation, batch.actions[0]), rel=1e-5)
    native.update(make_batch(9))
    other.update(make_batch(9))
    a, b = native.state(), other.state()
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_a_reward_that_is_not_finite_leaves_every_network_as_it_was():
    native, batch = NativeTD3(make_learner("td3", policy_delay=1)), make_batch(size=20)
    native.update(make_batch(1, size=20))
    before = native.state()
    batch.rewards[11] = np.float32("nan")
    with pytest.raises(DivergenceError, match=r"critic error .* is nan at gradient step 2") as caught:
        native.update(batch)
    assert caught.value.row == 11
    after = native.state()
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "noise")
    assert native.gradient_steps == 1


def test_an_observation_that_is_not_finite_leaves_every_network_as_it_was():
    native, batch = NativeTD3(make_learner("td3", policy_delay=1)), make_batch()
    before = native.state()
    batch.observations["state"][5, 1] = np.float32("inf")
    with pytest.raises(DivergenceError, match="at gradient step 1") as caught:
        native.update(batch)
    assert caught.value.row == 5
    after = native.state()
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "noise")


def test_a_value_that_overflows_in_the_policys_step_leaves_the_policy_as_it_was():
    native = NativeTD3(make_learner("td3", policy_delay=1, critic_learning_rate=1e30))
    reference = make_learner("td3", policy_delay=1, critic_learning_rate=1e30)
    before = native.state()
    for learner in (native, reference):
        with pytest.raises(DivergenceError, match="value of the policy's action is .* at gradient step 1"):
            learner.update(make_batch())
    after = native.state()
    for name in before:
        if name.startswith(("actor/", "target_actor/", "adam/actor")):
            assert np.array_equal(before[name], after[name]), name
    assert after["adam/critic/step"] == 1.0
    assert native.gradient_steps == reference.gradient_steps == 1
    assert not np.array_equal(before["critic/network.head.weight"], after["critic/network.head.weight"])


def test_the_comparison_sees_a_wrong_derivative():
    """Discounts a thousandth off move the states further apart than the first test allows."""
    native, reference = NativeTD3(make_learner("td3")), make_learner("td3")
    batch = make_batch()
    native.update(batch)
    batch.discounts[:] *= np.float32(0.999)
    reference.draw_noise = lambda size: native.noise[:size].copy()
    reference.update(batch)
    assert furthest(without_noise(native), without_noise(reference)) > 1e-4
