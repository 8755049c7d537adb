"""The update composed of kernels against the update by autograd, from one state and with one noise."""

import numpy as np
import pytest
from learning import SPEC, furthest, make_batch, make_learner, without_noise
from native_child import NATIVE
from test_torch_engine import ASYMMETRIC, LENGTHS, VARIANTS, mlp

from sacpipe.algorithms.native_soft_actor_critic import NativeSoftActorCritic
from sacpipe.algorithms.sac_native import NativeSAC
from sacpipe.core.errors import DivergenceError


def given_noise(reference, native, size):
    """Let a learner by autograd use the noise of the last update by kernels."""
    noise = native.noise[:size].copy()
    if isinstance(native, NativeSoftActorCritic):  # of the next actions, then of the present
        held = len(native.noise) // 2
        noise = np.stack([native.noise[held : held + size], noise])
    reference.draw_noise = lambda _size: noise


def follow(native, reference, updates_before, size, spec, check=lambda: None):
    """Update by kernels alone, then three times beside autograd from one state, with a check after each."""
    for step in range(updates_before):
        native.observe(make_batch(step % 7, spec=spec).observations.rows(step % 16))
        native.update(make_batch(step % 7, spec=spec, size=size))
    reference.load_state(native.state())
    for step in range(3):
        native.update(make_batch(step + 20, spec=spec, size=size))
        given_noise(reference, native, size)
        reference.update(make_batch(step + 20, spec=spec, size=size))
        check()


@pytest.mark.parametrize("changes", [*VARIANTS, mlp(300, 40), {"spec": ASYMMETRIC, **mlp(33, 65, 17)}])
@pytest.mark.parametrize(("updates_before", "size"), LENGTHS)
def test_the_update_by_kernels_is_the_update_by_autograd(changes, updates_before, size):
    spec = changes.get("spec", SPEC)
    native, reference = NativeSAC(make_learner(seed=6, **changes)), make_learner(seed=5, **changes)
    follow(native, reference, updates_before, size, spec)
    assert furthest(without_noise(native), without_noise(reference)) < 2e-5
    assert native.gradient_steps == reference.gradient_steps == updates_before + 3
    assert native.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", ["sac", "tqc"])
@pytest.mark.parametrize(
    ("place", "value"), [("rewards", "nan"), ("rewards", "inf"), ("here", "inf"), ("there", "nan")]
)
def test_a_number_that_is_not_finite_leaves_every_network_as_it_was(name, place, value):
    native, batch = NATIVE[name](make_learner(name)), make_batch(size=20)
    native.update(make_batch(1, size=20))
    before = native.state()
    if place == "rewards":
        batch.rewards[11] = np.float32(value)
    else:
        batch.discounts[11] = 0.99
        observations = batch.observations if place == "here" else batch.next_observations
        observations["state"][11, 1] = np.float32(value)
    with pytest.raises(DivergenceError, match=r"critic error .* at gradient step 2") as caught:
        native.update(batch)
    assert caught.value.row == 11
    after = native.state()
    assert all(np.array_equal(before[name], after[name]) for name in before if name != "noise")
    assert native.gradient_steps == 1


@pytest.mark.parametrize(("name", "actor_q"), [("sac", "min"), ("tqc", "mean"), ("tqc", "min")])
def test_a_value_that_overflows_in_the_policys_step_leaves_the_policy_as_it_was(name, actor_q):
    changes = {"critic_learning_rate": 1e30, "actor_q": actor_q}
    native, reference = NATIVE[name](make_learner(name, **changes)), make_learner(name, **changes)
    before = native.state()
    for learner in (native, reference):
        with pytest.raises(DivergenceError, match="value of a new action is .* at gradient step 1"):
            learner.update(make_batch())
    after = native.state()
    kept = [name for name in before if name.startswith(("actor/", "adam/actor", "log_temperature"))]
    assert kept
    assert all(np.array_equal(before[name], after[name]) for name in kept)
    assert after["adam/critic/step"] == 1.0
    assert not np.array_equal(before["critic/network.head.weight"], after["critic/network.head.weight"])
