"""Weights of a batch's rows: the same update by every engine, with TD errors that leave the weights out."""

import dataclasses

import numpy as np
import pytest
from learning import furthest, make_batch, make_learner, without_noise
from native_child import NATIVE
from test_native_engine import given_noise

from sacpipe.algorithms.native_actor_critic import NativeActorCritic
from sacpipe.engines.native_engine import NativeConfig
from sacpipe.engines.torch_engine import TorchConfig

SIZE = 13
WEIGHTS = np.linspace(0.01, 1.0, SIZE, dtype=np.float32)


def weighted(number):
    """A batch; every second one without weights, so that both kinds follow each other."""
    batch = make_batch(number, size=SIZE)
    return dataclasses.replace(batch, weights=WEIGHTS) if number % 2 == 0 else batch


def by_kernels(name, precision="float32"):
    learner = make_learner(name, seed=6)
    return NativeConfig(name="native", precision=precision).attach(learner)


def by_hand(_name):
    return TorchConfig(name="torch", num_threads=1, matmul_precision="float32").attach(make_learner(seed=6))


@pytest.mark.parametrize(("name", "attach"), [*((name, by_kernels) for name in NATIVE), ("sac", by_hand)])
@pytest.mark.parametrize("numbers", [(0,), (0, 1, 2, 4), (1, 2)])
def test_the_weighted_update_is_the_one_by_autograd(name, attach, numbers):
    fast, reference = attach(name), make_learner(name, seed=5)
    reference.load_state(fast.state())
    for number in numbers:
        fast.update(weighted(number))
        if isinstance(fast, NativeActorCritic):
            given_noise(reference, fast, SIZE)
        reference.update(weighted(number))
        np.testing.assert_allclose(fast.td_errors(), reference.td_errors(), rtol=1e-4, atol=1e-5)
        assert fast.diagnostics() == pytest.approx(reference.diagnostics(), rel=1e-4, abs=1e-5)
    assert furthest(without_noise(fast), without_noise(reference)) < 2e-5


@pytest.mark.parametrize("name", NATIVE)
def test_weights_change_the_update_by_kernels(name):
    """So the comparison above sees them."""
    plain, uneven = by_kernels(name), by_kernels(name)
    plain.update(make_batch(0, size=SIZE))
    uneven.update(weighted(0))
    assert furthest(without_noise(plain), without_noise(uneven)) > 1e-3
    np.testing.assert_array_equal(plain.td_errors(), uneven.td_errors())


@pytest.mark.parametrize("name", NATIVE)
def test_weights_of_1_give_the_bytes_of_none(name):
    plain, even = by_kernels(name), by_kernels(name)
    plain.update(make_batch(0, size=SIZE))
    even.update(dataclasses.replace(make_batch(0, size=SIZE), weights=np.ones(SIZE, dtype=np.float32)))
    for key, array in plain.state().items():
        np.testing.assert_array_equal(array, even.state()[key])


def test_weights_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"expected shape \(13,\), found \(12,\)"):
        by_kernels("sac").update(dataclasses.replace(make_batch(0, size=SIZE), weights=WEIGHTS[1:]))
