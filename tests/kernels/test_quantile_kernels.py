"""Kernels of quantile critics against NumPy in float64 and against numbers worked out on paper."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_layout import call, floats, from_panels, slot, to_panels

from sacpipe.kernels.perceptron import padded, width_of

ROWS = st.integers(1, 40)
COUNT = st.integers(1, 70)
MEMBERS = st.integers(1, 4)
SEED = st.integers(0, 2**32 - 1)


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def quantile_mean(quantiles):
    members, rows, count = quantiles.shape
    panels = to_panels(quantiles, width_of(count))
    values = np.zeros((members, padded(rows)), dtype=np.float32)
    call(
        "quantile_mean", quantiles=panels, values=values, members=members, rows=rows, count=count,
        width=panels.shape[-1],
    )  # fmt: skip
    return values[:, :rows]


def truncated_target(quantiles, log_probs, rewards, discounts, *, temperature, kept):
    """Atoms and their means."""
    members, rows, count = quantiles.shape
    panels = to_panels(quantiles, width_of(count))
    held = np.zeros(padded(rows), dtype=np.float32)
    held[:rows] = log_probs
    atoms, targets = np.zeros((padded(rows), kept), np.float32), np.zeros(padded(rows), np.float32)
    call(
        "truncated_target", quantiles=panels, log_probs=held, rewards=slot(rewards), discounts=slot(discounts),
        atoms=atoms, targets=targets, numbers=floats(temperature), members=members, rows=rows, count=count,
        width=panels.shape[-1], kept=kept,
    )  # fmt: skip
    assert not atoms[rows:].any()
    return atoms[:rows], targets[:rows]


def quantile_huber(quantiles, atoms, weights=None, values=None, targets=None):
    """What the program returns, gradients and losses; values and targets are means unless they are given."""
    members, rows, count = quantiles.shape
    panels = to_panels(quantiles, width_of(count))
    width, kept = panels.shape[-1], atoms.shape[1]
    held = np.zeros((padded(rows), kept), dtype=np.float32)
    held[:rows] = atoms
    means = np.zeros((members, padded(rows)), dtype=np.float32)
    means[:, :rows] = quantiles.mean(axis=2) if values is None else values
    wanted = np.zeros(padded(rows), dtype=np.float32)
    wanted[:rows] = atoms.mean(axis=1) if targets is None else targets
    fractions = np.zeros((2, panels.shape[1] * width), dtype=np.float32)
    tau = (np.arange(count, dtype=np.float32) + np.float32(0.5)) / np.float32(count)
    fractions[:, :count] = 1 - tau, tau
    gradients, losses = np.zeros_like(panels), np.zeros_like(means)
    refused = call(
        "quantile_huber", quantiles=panels, values=means, atoms=held, targets=wanted,
        weights=None if weights is None else slot(weights), fractions=fractions, gradients=gradients,
        losses=losses, members=members, rows=rows, count=count, width=width, kept=kept,
    )  # fmt: skip
    found = from_panels(gradients, rows, count)
    assert np.count_nonzero(gradients) == np.count_nonzero(found)
    return refused, found, losses[:, :rows]


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, COUNT, MEMBERS)
def test_quantile_mean(seed, rows, count, members):
    quantiles = normal(np.random.default_rng(seed), members, rows, count)
    expected = quantiles.astype(np.float64).mean(axis=2)
    np.testing.assert_allclose(quantile_mean(quantiles), expected, rtol=1e-5, atol=1e-6)


def test_quantile_mean_by_hand():
    quantiles = np.float32([[[1, 2, 6], [0, 0, 3]], [[7, 8, 9], [-1, 1, 0]]])
    np.testing.assert_array_equal(quantile_mean(quantiles), [[3, 1], [8, 0]])


@settings(deadline=None)
@given(
    SEED,
    ROWS,
    COUNT,
    MEMBERS,
    st.integers(0, 10),
    st.sampled_from(["normal", "ties", "ascending", "descending"]),
)
def test_truncated_target(seed, rows, count, members, dropped, kind):
    """The kept atoms to the bit, since r + discount (z - temperature log pi) is rounded after each operation."""
    rng = np.random.default_rng(seed)
    quantiles = normal(rng, members, rows, count)
    if kind == "ties":
        quantiles = np.round(quantiles)
    elif kind != "normal":
        quantiles = np.sort(quantiles.reshape(members, -1)).reshape(quantiles.shape)
        quantiles = quantiles if kind == "ascending" else np.ascontiguousarray(quantiles[::-1, ::-1, ::-1])
    log_probs, rewards, discounts = normal(rng, rows), normal(rng, 2 * rows)[::2], normal(rng, rows)
    kept = max(1, members * (count - dropped))
    atoms, targets = truncated_target(
        quantiles, log_probs, rewards, discounts, temperature=0.3, kept=kept
    )  # fmt: skip
    pooled = np.sort(quantiles.transpose(1, 0, 2).reshape(rows, -1))[:, :kept]
    entropy = np.float32(0.3) * log_probs
    expected = (pooled - entropy[:, None]) * discounts[:, None] + rewards[:, None]
    np.testing.assert_array_equal(atoms, expected)
    np.testing.assert_allclose(targets, expected.astype(np.float64).mean(axis=1), rtol=1e-5, atol=1e-5)


def test_truncated_target_by_hand():
    """Two critics with 1, 5, 3 and 4, 2, 9: the lowest four of six are left; r = 10, discount 1/2, entropy -2."""
    quantiles = np.float32([[[1, 5, 3]], [[4, 2, 9]]])
    atoms, targets = truncated_target(
        quantiles, floats(-4.0), floats(10.0), floats(0.5), temperature=0.5, kept=4
    )  # fmt: skip
    np.testing.assert_array_equal(atoms, [[11.5, 12.0, 12.5, 13.0]])
    np.testing.assert_array_equal(targets, [12.25])


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 24, 33])
def test_the_network_of_comparisons_sorts_every_row_of_zeros_and_ones(count):
    """By the zero-one principle it sorts all numbers then. All rows up to ten numbers, else every step."""
    rows = np.arange(1 << count)[:, None] >> np.arange(count) & 1 if count <= 10 else np.tri(count, dtype=int)
    rng = np.random.default_rng(0)
    rows = rng.permuted(rows, axis=1) if count > 10 else rows
    for part in np.array_split(rows.astype(np.float32), -(-len(rows) // 40)):
        zeros = np.zeros(len(part), dtype=np.float32)
        ones = np.ones_like(zeros)
        atoms, _ = truncated_target(part[None], zeros, zeros, ones, temperature=0.0, kept=count)
        np.testing.assert_array_equal(atoms, np.sort(part))


@pytest.mark.parametrize("place", [0, 4, 5])
def test_a_quantile_that_is_not_a_number_makes_the_mean_none_even_where_others_are_kept(place):
    quantiles = np.arange(18, dtype=np.float32).reshape(3, 3, 2)
    quantiles[place // 2, 1, place % 2] = np.nan
    zeros, ones = np.zeros(3, dtype=np.float32), np.ones(3, dtype=np.float32)
    _, targets = truncated_target(quantiles, zeros, zeros, ones, temperature=0.0, kept=1)
    assert np.isnan(targets).tolist() == [False, True, False]


def test_an_infinite_quantile_that_is_dropped_is_no_part_of_the_mean():
    quantiles = np.float32([[[3, np.inf, 1]]])
    one = floats(1.0)
    _, targets = truncated_target(quantiles, one, one, one, temperature=0.0, kept=2)
    assert targets.tolist() == [3.0]
    _, targets = truncated_target(quantiles, one, one, one, temperature=0.0, kept=3)
    assert targets.tolist() == [np.inf]


@pytest.mark.slow
@settings(deadline=None)
@given(SEED, ROWS, COUNT, MEMBERS, st.integers(1, 50), st.booleans())
def test_quantile_huber(seed, rows, count, members, kept, has_weights):
    rng = np.random.default_rng(seed)
    quantiles, atoms = 2 * normal(rng, members, rows, count), 2 * normal(rng, rows, kept)
    weights = rng.random(3 * rows, dtype=np.float32)[::3] if has_weights else None
    refused, gradients, losses = quantile_huber(quantiles, atoms, weights)
    assert refused == 0
    tau = (np.arange(count) + 0.5) / count
    errors = quantiles.astype(np.float64)[:, :, :, None] - atoms[None, :, None, :]
    factors = np.where(errors > 0, 1 - tau[:, None], tau[:, None])
    huber = np.where(np.abs(errors) <= 1, 0.5 * errors**2, np.abs(errors) - 0.5)
    of_rows = np.ones(rows) if weights is None else weights.astype(np.float64)
    expected = (factors * huber).mean(axis=(2, 3)) * of_rows
    np.testing.assert_allclose(losses, expected, rtol=2e-5, atol=1e-6)
    slope = (factors * np.clip(errors, -1, 1)).sum(axis=3) * of_rows[:, None] / (count * kept * rows)
    np.testing.assert_allclose(gradients, slope, rtol=1e-4, atol=1e-6)


def test_quantile_huber_by_hand():
    """Quantiles 0 and 2 at 1/4 and 3/4, atoms -3 and 1: as in tests/algorithms/test_tqc.py, in two rows of two."""
    quantiles = np.float32([[[0, 2], [0, 2]], [[1, 1], [1, 1]]])
    atoms, weights = np.float32([[-3, 1], [-3, 1]]), floats(1.0, 3.0)
    refused, gradients, losses = quantile_huber(quantiles, atoms, weights)
    assert refused == 0
    np.testing.assert_array_equal(losses, [[0.8125, 3 * 0.8125], [0.875, 3 * 0.875]])
    np.testing.assert_array_equal(gradients[0], np.float32([[0.5, 0.5], [1.5, 1.5]]) / 8)
    np.testing.assert_array_equal(gradients[1], np.float32([[0.75, 0.25], [2.25, 0.75]]) / 8)


@pytest.mark.parametrize("place", ["values", "targets"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, -1e20])
@pytest.mark.parametrize("row", [0, 12])
def test_quantile_huber_refuses_values_or_targets_that_are_not_finite_or_over_1e19(place, value, row):
    given_ = {"values": np.zeros((2, 13), np.float32), "targets": np.zeros(13, np.float32)}
    given_[place][..., row] = value
    refused, *_ = quantile_huber(np.zeros((2, 13, 3), np.float32), np.zeros((13, 2), np.float32), **given_)
    assert refused == 1


def test_rows_of_the_padding_are_not_refused_and_have_no_gradient():
    rng = np.random.default_rng(0)
    quantiles, atoms = normal(rng, 1, 3, 5), normal(rng, 3, 4)
    panels = to_panels(quantiles, 16)
    panels[:, :, 3:] = np.nan
    gradients = np.zeros_like(panels)
    held, means = np.full((8, 4), np.nan, np.float32), np.full((1, 8), np.nan, np.float32)
    held[:3], means[:, :3] = atoms, 0.0
    refused = call(
        "quantile_huber", quantiles=panels, values=means, atoms=held, targets=np.zeros(8, np.float32), weights=None,
        fractions=np.full((2, 16), 0.5, np.float32), gradients=gradients, losses=np.zeros_like(means), members=1,
        rows=3, count=5, width=16, kept=4,
    )  # fmt: skip
    assert refused == 0
    assert not gradients[:, :, 3:].any()
