"""Kernels of layer normalisation against autograd in float64, on random sizes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_layout import call, floats, from_panels, to_panels, zero_panels
from torch.nn import functional

from sacpipe.kernels.perceptron import padded, panels, step_numbers

SEED = st.integers(0, 2**32 - 1)
SHAPE = st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(5, 100))
"""Members, rows and features: with two, gradients are differences of nearly equal numbers."""
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def parameters(values):
    """[members, features] -> [members, panels, 32]."""
    return np.ascontiguousarray(to_panels(values[:, None])[:, :, 0])


class Example:
    """Random rows and parameters, what the kernel `norm` makes of them, and autograd's in float64."""

    def __init__(self, seed, shape):
        self.rng = np.random.default_rng(seed)
        self.members, self.rows, self.features = shape
        self.x = 3.0 * normal(self.rng, *shape) + 2.0
        self.w, self.b = (normal(self.rng, self.members, self.features) for _ in range(2))
        self.values, self.output = to_panels(self.x), zero_panels(*shape)
        self.scales = np.zeros((self.members, padded(self.rows)), dtype=np.float32)
        self.sizes = {"members": self.members, "rows": self.rows, "features": self.features}
        call(
            "norm", values=self.values, output=self.output, scales=self.scales, weights=parameters(self.w),
            bias=parameters(self.b), **self.sizes,
        )  # fmt: skip
        self.exact = [
            torch.tensor(one, dtype=torch.float64, requires_grad=True) for one in (self.x, self.w, self.b)
        ]
        x, w, b = self.exact
        z = functional.layer_norm(x, (self.features,), eps=1e-5)
        self.before = z * w[:, None] + b[:, None]


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, SHAPE)
def test_norm(seed, shape):
    example = Example(seed, shape)
    expected = torch.relu(example.before).detach().numpy()
    np.testing.assert_allclose(from_panels(example.output, *shape[1:]), expected, **CLOSE)
    whole = np.concatenate([example.output, example.values]).swapaxes(1, 2)
    assert not whole.reshape(2 * shape[0], padded(shape[1]), -1)[:, :, shape[2] :].any()


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, SHAPE, st.booleans())
def test_norm_back(seed, shape, is_listed):
    example = Example(seed, shape)
    delta = normal(example.rng, *shape)
    members, rows, _ = shape
    lists = counts = None
    if is_listed:
        lists, counts = np.zeros((members, padded(rows)), dtype=np.int32), np.zeros(members, dtype=np.int32)
        for member in range(members):
            counts[member] = example.rng.integers(0, rows + 1)
            lists[member, : counts[member]] = example.rng.permutation(rows)[: counts[member]]
    output = zero_panels(*shape)
    call(
        "norm_back", delta=to_panels(delta), normal=example.values, scales=example.scales,
        weights=parameters(example.w), output=output, lists=lists, counts=counts, held=padded(rows), **example.sizes,
    )  # fmt: skip
    for member in range(members):
        seen = lists[member, : counts[member]] if is_listed else np.arange(rows)
        given_ = torch.zeros(shape, dtype=torch.float64)
        given_[member, seen] = torch.from_numpy(delta[member, : len(seen)]).double()
        (expected,) = torch.autograd.grad(example.before, example.exact[:1], given_, retain_graph=True)
        found = from_panels(output, *shape[1:])[member, : len(seen)]
        np.testing.assert_allclose(found, expected[member, seen].numpy(), **CLOSE)
    assert not output.swapaxes(1, 2).reshape(members, padded(rows), -1)[:, :, shape[2] :].any()


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, SHAPE, st.booleans())
def test_norm_step(seed, shape, has_slow):
    """The first step from zero moments moves every parameter by its gradient over (its size + epsilon)."""
    example = Example(seed, shape)
    delta, numbers = normal(example.rng, *shape), floats(*[0] * 8)
    numbers[:] = step_numbers(
        step=1, learning_rate=0.1, betas=(0.9, 0.99), epsilon=0.5, weight_decay=0.0, tau=0.25
    )  # fmt: skip
    w, b = parameters(example.w), parameters(example.b)
    arrays = {
        name: np.zeros_like(w) for name in ("weight_means", "weight_squares", "bias_means", "bias_squares")
    } | {name: np.zeros_like(w) if has_slow else None for name in ("slow_weights", "slow_bias")}
    squares = np.zeros((shape[0], panels(shape[2]), 16), dtype=np.float32)
    call(
        "norm_step", normal=example.values, delta=to_panels(delta), weights=w, bias=b, squares=squares, step=numbers,
        held=padded(shape[1]), **arrays, **example.sizes,
    )  # fmt: skip
    given_ = torch.from_numpy(delta).double()
    gradients = torch.autograd.grad(example.before, example.exact[1:], given_)
    total = sum(float(gradient.square().sum()) for gradient in gradients)
    assert squares.sum(dtype=np.float64) == pytest.approx(total, rel=1e-3)
    for found, start, slow, gradient in zip(
        (w, b), (example.w, example.b), ("slow_weights", "slow_bias"), gradients, strict=True
    ):
        g = gradient.numpy()
        expected = start - 0.1 * g / (np.abs(g) + 0.5)
        flat = found.reshape(shape[0], -1)[:, : shape[2]]
        np.testing.assert_allclose(flat, expected, **CLOSE)
        if has_slow:
            slow_flat = arrays[slow].reshape(shape[0], -1)[:, : shape[2]]
            np.testing.assert_allclose(slow_flat, 0.25 * flat, rtol=1e-6)
