"""Updates by kernels with normalised layers: autograd's update, the same bytes from any threads, in float32 alone."""

import numpy as np
import pytest
from learning import SPEC, furthest, make_batch, make_learner, states_equal, without_noise
from native_child import NATIVE, digest
from test_native_engine import follow
from test_torch_engine import ASYMMETRIC, LENGTHS

from sacpipe.core.errors import ConfigError, DivergenceError
from sacpipe.engines.native_engine import NativeConfig
from sacpipe.kernels.program import Program
from sacpipe.networks.kernel_outputs import evaluate_by_kernels


def norm(*hidden_dims):
    return {"network": {"name": "layer_norm_mlp", "hidden_dims": list(hidden_dims)}}


ADAM = {
    "adam": {
        "betas": [0.5, 0.9],
        "epsilon": 1e-6,
        "weight_decay": 0.1,
        "schedule": {"name": "linear", "final": 0.1, "steps": 1001},
    }
}
VARIANTS = [
    ("sac", norm(8, 8)),
    ("sac", {"num_critics": 3, "actor_q": "mean", "normalise_observations": True, **norm(9, 5, 7)}),
    ("sac", {"num_critics": 1, "target_update_interval": 2, **norm(32)}),
    ("sac", norm(300, 40)),
    ("sac", {"spec": ASYMMETRIC, "normalise_observations": True, **ADAM, **norm(33, 65, 17)}),
    ("td3", norm(8, 8)),
    ("td3", {"policy_delay": 1, "normalise_observations": True, **norm(9, 5, 7)}),
    ("td3", {"policy_delay": 3, "tau": 0.2, **norm(32)}),
    ("td3", norm(300, 40)),
    ("td3", {"spec": ASYMMETRIC, **ADAM, **norm(33, 65, 17)}),
    ("tqc", {"num_critics": 3, "actor_q": "min", "normalise_observations": True, **norm(9, 5, 7)}),
    ("tqc", {"num_quantiles": 40, "dropped_quantiles": 7, **norm(300, 40)}),
]


def make_native(name, seed=6, **changes):
    return NATIVE[name](make_learner(name, seed=seed, **changes))


@pytest.mark.parametrize(("name", "changes"), VARIANTS)
@pytest.mark.parametrize(("updates_before", "size"), LENGTHS)
def test_the_update_by_kernels_is_the_update_by_autograd(name, changes, updates_before, size):
    spec = changes.get("spec", SPEC)
    native, reference = make_native(name, **changes), make_learner(name, seed=5, **changes)
    follow(native, reference, updates_before, size, spec)
    # One rounding of the observations moves autograd's own states as far: a row whose features are nearly equal
    # is divided by a small deviation, and Adam's first step has the size of the learning rate for any gradient.
    assert furthest(without_noise(native), without_noise(reference)) < 1e-4
    assert native.gradient_steps == reference.gradient_steps == updates_before + 3
    assert native.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", NATIVE)
def test_every_parameter_and_moment_learns(name):
    native = make_native(name, **norm(40, 24))
    before = native.state()
    for step in range(4):
        native.update(make_batch(step))
    after = native.state()
    named = [key for key in before if ".norms." in key or key.startswith("adam/")]
    assert sum(".norms." in key for key in named) >= 12
    same = [key for key in named if np.array_equal(before[key], after[key])]
    assert not [key for key in same if "temperature" not in key]


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("threads", [1, 2, 3, 5, 64])
def test_the_number_of_threads_changes_no_byte(name, threads, monkeypatch):
    """Threads that run together, and their shares in another order, which shows a missing wait."""
    run, digests = Program.run, set()
    for runner in (run, lambda program: run(program, threads), lambda program: program.run_shares(threads)):
        monkeypatch.setattr(Program, "run", runner)
        native = make_native(name, **norm(33, 70, 8))
        for step in range(3):
            native.update(make_batch(step, size=43))
        digests.add(digest(native))
    assert len(digests) == 1


@pytest.mark.parametrize("name", NATIVE)
def test_a_resumed_learner_goes_on_with_the_same_bytes(name):
    native, other = make_native(name, **norm(33, 17)), make_native(name, seed=3, **norm(33, 17))
    for step in range(5):
        native.update(make_batch(step))
    other.load_state(native.state())
    for step in range(5, 9):
        native.update(make_batch(step))
        other.update(make_batch(step))
    assert states_equal(native, other)


@pytest.mark.parametrize("name", NATIVE)
def test_acting_and_values_are_those_of_autograd(name):
    native, reference = make_native(name, **norm(33, 17)), make_learner(name, seed=2, **norm(33, 17))
    for step in range(4):
        native.update(make_batch(step))
    reference.load_state(native.state())
    batch, policy = make_batch(), native.policy()
    observation = batch.observations.rows(0)
    found, expected = native.act(observation, None), reference.act(observation, None)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    value = native.value(observation, batch.actions[0])
    assert value == pytest.approx(reference.value(observation, batch.actions[0]), rel=1e-5)
    exported = policy.network
    assert evaluate_by_kernels(exported)
    vector = exported.inputs.of(observation.rows(None)).vector.numpy()[0]
    actor = native.learner.actor
    mine = actor.evaluate_single(vector, ()).copy()
    np.testing.assert_array_equal(exported.evaluate_single(vector, ()), mine)


@pytest.mark.parametrize("name", NATIVE)
def test_an_observation_that_is_not_finite_leaves_every_network_as_it_was(name):
    """Normalised, a row with an infinite number is not finite, and the critics' errors are refused."""
    native, batch = make_native(name, **norm(33, 17)), make_batch()
    before = native.state()
    batch.observations["state"][5, 1] = np.float32("inf")
    with pytest.raises(DivergenceError, match="at gradient step 1") as caught:
        native.update(batch)
    assert caught.value.row == 5
    after = native.state()
    assert all(np.array_equal(before[key], after[key]) for key in before if key != "noise")


@pytest.mark.parametrize("name", NATIVE)
def test_products_of_bfloat16_are_refused(name):
    """On every processor, whether it has such products or not."""
    with pytest.raises(
        ConfigError, match=r"expected 'float32' for the trunk 'layer_norm_mlp'.*`precision: float32`"
    ):
        NATIVE[name](make_learner(name, **norm(8, 8)), "bfloat16")


@pytest.mark.parametrize("name", NATIVE)
def test_the_engine_suits_the_trunk(name):
    learner = make_learner(name, **norm(8, 8))
    assert NativeConfig.suits(learner.config)
    native = NativeConfig(name="native", precision="float32").attach(learner)
    assert isinstance(native, NATIVE[name])
