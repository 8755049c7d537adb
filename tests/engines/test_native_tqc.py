"""TQC's update by kernels against its update by autograd, from one state and with one noise."""

import dataclasses

import numpy as np
import pytest
from learning import SPEC, furthest, make_batch, make_learner, states_equal, without_noise
from test_native_bf16 import HAS_PRODUCTS, length, make_native, moments
from test_native_engine import follow, given_noise
from test_torch_engine import ASYMMETRIC, mlp

from sacpipe.algorithms.tqc import TQCConfig
from sacpipe.algorithms.tqc_native import NativeTQC
from sacpipe.core.errors import ConfigError
from sacpipe.engines.native_engine import NativeConfig

VARIANTS = [
    {},
    {"num_critics": 1, "num_quantiles": 1, "dropped_quantiles": 0, **mlp(32)},
    {"num_critics": 3, "actor_q": "min", "num_quantiles": 40, "dropped_quantiles": 7, **mlp(9, 5, 7)},
    {"num_critics": 2, "actor_q": "min", "num_quantiles": 16, "dropped_quantiles": 15},
    {"num_quantiles": 33, "dropped_quantiles": 0, "temperature": {"mode": "fixed", "value": 0.3}},
    {
        "adam": {
            "betas": [0.5, 0.9],
            "epsilon": 1e-6,
            "weight_decay": 0.1,
            "schedule": {"name": "linear", "final": 0.1, "steps": 1001},
        }
    },
    {"spec": ASYMMETRIC, "normalise_observations": True, "target_update_interval": 2, **mlp(33, 65, 17)},
    {"spec": ASYMMETRIC, "normalise_observations": ["mass", "load"], "tau": 0.2, **mlp(300, 40)},
]


def native_tqc(seed=6, **changes):
    return NativeTQC(make_learner("tqc", seed=seed, **changes))


@pytest.mark.slow
@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize(("updates_before", "size"), [(0, 16), (400, 16), (3, 13)])
def test_the_update_by_kernels_is_the_update_by_autograd(changes, updates_before, size):
    spec = changes.get("spec", SPEC)
    native, reference = native_tqc(**changes), make_learner("tqc", seed=5, **changes)

    def check():
        assert native.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(native.td_errors(), reference.td_errors(), rtol=1e-4, atol=1e-5)

    follow(native, reference, updates_before, size, spec, check)
    assert furthest(without_noise(native), without_noise(reference)) < 3e-5
    assert native.gradient_steps == reference.gradient_steps == updates_before + 3


@pytest.mark.slow
def test_many_updates_stay_near_those_of_autograd():
    """Roundings grow as two trainings part from each other; what both learn of one batch stays the same."""
    native, reference = native_tqc(**mlp(16, 16)), make_learner("tqc", seed=6, **mlp(16, 16))
    for _ in range(300):
        native.update(make_batch())
        given_noise(reference, native, 16)
        reference.update(make_batch())
    found, expected = native.diagnostics(), reference.diagnostics()
    assert found == pytest.approx(expected, rel=0.05, abs=0.05)


def test_the_comparison_sees_a_wrong_derivative():
    """Discounts a thousandth off move the moments further apart than the first test allows."""
    native, reference, batch = native_tqc(), make_learner("tqc", seed=6), make_batch()
    native.update(batch)
    batch.discounts[:] *= np.float32(0.999)
    given_noise(reference, native, 16)
    reference.update(batch)
    assert furthest(without_noise(native), without_noise(reference)) > 1e-4


def test_losses_of_weighted_rows_are_in_the_metrics():
    weights = np.linspace(0.0, 2.0, 16, dtype=np.float32)
    batch = dataclasses.replace(make_batch(), weights=weights)
    native, reference = native_tqc(), make_learner("tqc", seed=6)
    native.update(batch)
    given_noise(reference, native, 16)
    reference.update(batch)
    np.testing.assert_allclose(native.learner.row_losses, reference.row_losses, rtol=1e-5, atol=1e-6)
    assert not native.learner.row_losses[:, 0].any()
    assert native.diagnostics()["critic/loss"] == pytest.approx(reference.diagnostics()["critic/loss"])


@pytest.mark.parametrize("changes", [{}, {"actor_q": "min", **mlp(33, 17)}])
def test_acting_values_and_loading_follow_the_kernels_memory(changes):
    native, other = native_tqc(**changes), native_tqc(seed=3, **changes)
    reference, batch = make_learner("tqc", seed=2, **changes), make_batch()
    observation = batch.observations.rows(0)
    for step in range(4):
        native.update(make_batch(step))
    for learner in (other, reference):
        learner.load_state(native.state())
        np.testing.assert_allclose(
            learner.act(observation, None), native.act(observation, None), rtol=1e-5, atol=1e-6
        )
        value = learner.value(observation, batch.actions[0])
        assert value == pytest.approx(native.value(observation, batch.actions[0]), rel=1e-5, abs=1e-6)
    for step in range(5, 8):
        native.update(make_batch(step))
        other.update(make_batch(step))
    assert states_equal(native, other)


@pytest.mark.parametrize("changes", [{}, {"actor_q": "min", "num_quantiles": 40, **mlp(33, 65, 17)}])
@pytest.mark.parametrize("size", [16, 13, 1])
def test_gradients_by_products_of_bfloat16_are_near_those_of_autograd(changes, size):
    native = make_native("tqc", **changes)
    if native is None:
        assert not HAS_PRODUCTS
        return
    exact, batch = make_learner("tqc", seed=4, **changes), make_batch(20, size=size)
    exact.load_state(native.state())
    native.update(batch)
    given_noise(exact, native, size)
    exact.update(batch)
    found, expected = moments(native), moments(exact)
    error = length({name: found[name] - expected[name] for name in found}) / length(expected)
    assert 1e-4 < error < 0.15
    assert native.diagnostics() == pytest.approx(exact.diagnostics(), rel=0.1, abs=0.02)


def test_the_engine_suits_it_and_has_its_update():
    learner = make_learner("tqc")
    assert NativeConfig.suits(TQCConfig.example())
    assert isinstance(NativeConfig(name="native", precision="float32").attach(learner), NativeTQC)


def test_more_quantiles_than_a_threads_memory_holds_are_refused():
    """Up to 65,536 of all critics together are sorted in the memory that each thread has."""
    changes = {"num_critics": 2, "num_quantiles": 32_769, "dropped_quantiles": 0, **mlp(1)}
    with pytest.raises(ConfigError, match=r"algorithm\.num_quantiles: .* at most 65536 .* found 2 x 32769"):
        native_tqc(**changes)


@pytest.mark.slow
def test_as_many_as_it_holds_are_sorted():
    changes = {"num_critics": 2, "num_quantiles": 32_768, "dropped_quantiles": 32_767, **mlp(1)}
    native, reference = native_tqc(**changes), make_learner("tqc", seed=6, **changes)
    native.update(make_batch(size=3))
    given_noise(reference, native, 3)
    reference.update(make_batch(size=3))
    assert native.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)
