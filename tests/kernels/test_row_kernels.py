"""Kernels over the rows of a batch against NumPy in float64, on random sizes and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_layout import call, floats, from_panels, slot, to_panels, zero_panels

from sacpipe.kernels.perceptron import padded, width_of

ROWS = st.integers(1, 40)
COLUMNS = st.integers(1, 37)
MEMBERS = st.integers(1, 4)
SEED = st.integers(0, 2**32 - 1)


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, st.integers(1, 70), st.integers(0, 37), st.booleans())
def test_pack(seed, rows, first, second, is_normalised):
    """Rows of a wider array, so that the stride counts; the columns that are chosen are normalised and clipped."""
    rng = np.random.default_rng(seed)
    wide, actions = normal(rng, rows, first + 3) * 4.0, normal(rng, rows, max(1, second))
    observations = wide[:, 1 : first + 1]
    mean, scale = normal(rng, first), np.abs(normal(rng, first)) * 3.0
    chosen = rng.integers(0, 2, first).astype(np.float32)
    output = zero_panels(1, rows, first + second)
    call(
        "pack", first=slot(observations), second=slot(actions) if second else None, output=output,
        mean=mean if is_normalised else None, scale=scale if is_normalised else None,
        chosen=chosen if is_normalised else None, parts=1, rows=rows, first_columns=first, second_columns=second,
        held=padded(rows), output_step=0, limit=10,
    )  # fmt: skip
    expected = observations.astype(np.float64)
    if is_normalised:
        expected = np.where(chosen, np.clip((expected - mean) * scale, -10.0, 10.0), expected)
    expected = np.concatenate([expected, actions[:, :second]], axis=1)
    np.testing.assert_allclose(from_panels(output[0], rows, first + second), expected, rtol=1e-5, atol=1e-6)
    assert np.count_nonzero(output) == np.count_nonzero(from_panels(output[0], rows, first + second))


def test_pack_puts_parts_behind_each_other_or_below():
    parts = [np.full((3, 2), part, dtype=np.float32) for part in (1.0, 2.0)]
    slots = np.concatenate([slot(part) for part in parts])
    arguments = {
        "first": slots, "second": None, "mean": None, "scale": None, "chosen": None, "parts": 2, "rows": 3,
        "first_columns": 2, "second_columns": 0, "limit": 10,
    }  # fmt: skip
    behind, below = zero_panels(2, 3, 2), zero_panels(1, 16, 2)
    call("pack", output=behind, held=8, output_step=8 * 32, **arguments)
    np.testing.assert_array_equal(from_panels(behind, 3, 2), np.stack(parts))
    call("pack", output=below, held=16, output_step=8 * 32, **arguments)
    found = from_panels(below[0], 16, 2)
    np.testing.assert_array_equal(found[:3], parts[0])
    np.testing.assert_array_equal(found[8:11], parts[1])


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, COLUMNS, st.integers(0, 40), MEMBERS)
def test_place(seed, rows, columns, at, parts):
    rng = np.random.default_rng(seed)
    values = normal(rng, parts, padded(rows), columns)
    before = normal(rng, parts, rows, at + columns)
    output = to_panels(before)
    call(
        "place", values=values, output=output, parts=parts, rows=rows, columns=columns, features=at + columns, at=at
    )  # fmt: skip
    expected = before.copy()
    expected[:, :, at:] = values[:, :rows]
    np.testing.assert_array_equal(from_panels(output, rows, at + columns), expected)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, st.integers(1, 20))
def test_squashed_sample(seed, rows, columns):
    """Log-density of tanh(u): the Gaussian's of u, minus log(1 - tanh(u)^2) of every action."""
    rng = np.random.default_rng(seed)
    means, log_stds = normal(rng, padded(rows), columns), 2.0 * normal(rng, padded(rows), columns)
    output = to_panels(np.concatenate([means, log_stds], axis=1), width_of(2 * columns))
    noise = normal(rng, padded(rows), columns)
    actions, stds, clipped, inside = (np.zeros_like(noise) for _ in range(4))
    log_probs = np.zeros(padded(rows), dtype=np.float32)
    call(
        "squashed_sample", output=output, noise=noise, actions=actions, log_probs=log_probs, log_stds=clipped,
        stds=stds, inside=inside, bounds=floats(-2.0, 1.0), rows=rows, columns=columns, width=output.shape[-1],
    )  # fmt: skip
    low = np.clip(log_stds.astype(np.float64), -2.0, 1.0)
    u = means + np.exp(low) * noise
    squash = 2.0 * (np.log(2.0) - u - np.logaddexp(0.0, -2.0 * u))
    densities = -0.5 * np.square(noise, dtype=np.float64) - low - 0.5 * np.log(2.0 * np.pi) - squash
    np.testing.assert_allclose(actions, np.tanh(u), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(log_probs, densities.sum(axis=1), rtol=1e-5, atol=1e-5 * columns)
    np.testing.assert_allclose(clipped, low, rtol=1e-7)
    np.testing.assert_allclose(stds, np.exp(low), rtol=1e-6)
    np.testing.assert_array_equal(inside, (log_stds >= -2.0) & (log_stds <= 1.0))


def test_squashed_sample_by_hand():
    """Mean 0, deviation 1, noise 0: u = 0, so the action is 0 and its density that of the Gaussian's mode."""
    output, noise, zeros = (
        zero_panels(1, 8, 2, 16),
        np.zeros((8, 1), dtype=np.float32),
        np.zeros((8, 1), np.float32),
    )
    log_probs = np.zeros(8, dtype=np.float32)
    call(
        "squashed_sample", output=output[0], noise=noise, actions=zeros, log_probs=log_probs,
        log_stds=np.zeros_like(zeros), stds=np.zeros_like(zeros), inside=np.zeros_like(zeros),
        bounds=floats(-1.0, 1.0), rows=8, columns=1, width=16,
    )  # fmt: skip
    np.testing.assert_array_equal(zeros, 0.0)
    np.testing.assert_allclose(log_probs, -0.9189385, rtol=1e-6)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, COLUMNS, st.booleans())
def test_bounded_action(seed, rows, columns, is_noisy):
    rng = np.random.default_rng(seed)
    means, noise = normal(rng, padded(rows), columns), normal(rng, padded(rows), columns)
    output, actions = to_panels(means, width_of(columns)), np.zeros_like(noise)
    call(
        "bounded_action", output=output, noise=noise if is_noisy else None, actions=actions,
        smoothing=floats(0.7, 0.5), rows=rows, columns=columns, width=output.shape[-1],
    )  # fmt: skip
    expected = np.tanh(means.astype(np.float64))
    if is_noisy:
        expected = np.clip(expected + np.clip(0.7 * noise.astype(np.float64), -0.5, 0.5), -1.0, 1.0)
    np.testing.assert_allclose(actions, expected, rtol=1e-6, atol=2e-7)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, MEMBERS, MEMBERS, st.booleans())
def test_td_error(seed, rows, members, next_members, is_soft):
    rng = np.random.default_rng(seed)
    values, following = normal(rng, members, padded(rows)), normal(rng, next_members, padded(rows))
    log_probs, rewards, discounts = normal(rng, padded(rows)), normal(rng, rows), normal(rng, 2 * rows)[::2]
    errors, targets = np.zeros_like(values), np.zeros_like(values)
    refused = call(
        "td_error", values=values, next_values=following, next_log_probs=log_probs if is_soft else None,
        rewards=slot(rewards), discounts=slot(discounts), errors=errors, targets=targets,
        numbers=floats(0.3, 0.25), members=members, rows=rows, next_members=next_members,
    )  # fmt: skip
    assert refused == 0
    next_values = following.astype(np.float64).min(axis=0) - (0.3 * log_probs if is_soft else 0.0)
    expected = rewards + discounts * next_values[:rows]
    np.testing.assert_allclose(
        targets[:, :rows], np.broadcast_to(expected, (members, rows)), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(errors[:, :rows], 0.25 * (values[:, :rows] - expected), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(errors[:, rows:], 0.0)


@settings(deadline=None)
@given(SEED, ROWS, MEMBERS)
def test_weigh(seed, rows, members):
    rng = np.random.default_rng(seed)
    errors, weights = normal(rng, members, padded(rows)), normal(rng, 3 * rows)[::3]
    expected = errors.copy()
    expected[:, :rows] *= weights
    assert call("weigh", weights=slot(weights), errors=errors, members=members, rows=rows) == 0
    np.testing.assert_array_equal(errors, expected)


BAD = [np.nan, np.inf, -np.inf, 1e20, -1e20]


@pytest.mark.parametrize("place", ["values", "next_values", "next_log_probs", "rewards", "discounts"])
@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("row", [0, 12])
def test_td_error_refuses_what_is_not_finite_or_over_1e19(place, value, row):
    arrays = {
        "values": np.zeros((2, 16), dtype=np.float32),
        "next_values": np.full((2, 16), -1.0, dtype=np.float32),
        "next_log_probs": np.zeros(16, dtype=np.float32),
        "rewards": np.zeros((13, 1), dtype=np.float32),
        "discounts": np.ones((13, 1), dtype=np.float32),
    }
    arrays[place].reshape(-1)[row] = value
    arguments = {
        "errors": np.zeros((2, 16), dtype=np.float32), "targets": np.zeros((2, 16), dtype=np.float32),
        "numbers": floats(1.0, 1.0), "members": 2, "rows": 13, "next_members": 2,
    }  # fmt: skip
    arguments |= arrays | {name: slot(arrays[name]) for name in ("rewards", "discounts")}
    is_hidden = place == "next_values" and value in (np.inf, 1e20)  # the other critic's value is lower
    assert call("td_error", **arguments) == (0 if is_hidden else 1)


@pytest.mark.parametrize("value", [*BAD, 0.0, 1e19, -1e19])
@pytest.mark.parametrize("place", [(0, 0), (1, 12), (1, 13)])
def test_check(value, place):
    """Rows of the padding are not read."""
    values = np.zeros((2, 16), dtype=np.float32)
    values[place] = value
    is_fine = place == (1, 13) or abs(value) <= 1e19
    assert call("check", values=values, members=2, rows=13) == (0 if is_fine else 1)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, MEMBERS)
def test_lowest(seed, rows, members):
    """Values from a few numbers, so that there are ties: the first critic has them."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 4, (members, padded(rows))).astype(np.float32)
    lists = np.full((members, padded(rows)), -1, dtype=np.int32)
    counts, owners = np.zeros(members, dtype=np.int32), np.zeros(padded(rows), dtype=np.int32)
    places = np.zeros(padded(rows), dtype=np.int32)
    call(
        "lowest", values=values, lists=lists, counts=counts, owners=owners, places=places, members=members, rows=rows
    )  # fmt: skip
    expected = values[:, :rows].argmin(axis=0)
    np.testing.assert_array_equal(owners[:rows], expected)
    for member in range(members):
        mine = np.flatnonzero(expected == member)
        np.testing.assert_array_equal(lists[member, : counts[member]], mine)
        np.testing.assert_array_equal(places[mine], np.arange(len(mine)))
        assert not lists[member, len(mine) : padded(len(mine))].any()


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, ROWS, st.integers(1, 20), MEMBERS, st.booleans(), st.booleans())
def test_squash_back(seed, rows, columns, members, is_gaussian, is_listed):
    rng = np.random.default_rng(seed)
    gradients = normal(rng, members, rows, columns)
    packed = to_panels(gradients, width_of(columns))
    owners, places = (
        rng.integers(0, members, padded(rows)).astype(np.int32),
        np.zeros(padded(rows), dtype=np.int32),
    )
    places[:rows] = rng.permutation(rows)
    actions = np.tanh(normal(rng, padded(rows), columns))
    stds, noise = np.exp(normal(rng, padded(rows), columns)), normal(rng, padded(rows), columns)
    inside = rng.integers(0, 2, (padded(rows), columns)).astype(np.float32)
    outputs = 2 * columns if is_gaussian else columns
    output = zero_panels(1, rows, outputs, width_of(outputs))
    gaussian = {"stds": stds, "noise": noise, "inside": inside}
    call(
        "squash_back", gradients=packed, owners=owners if is_listed else None, places=places if is_listed else None,
        actions=actions, output=output, weight=floats(0.2), members=members, rows=rows, columns=columns,
        gradient_width=packed.shape[-1], width=output.shape[-1],
        **(gaussian if is_gaussian else dict.fromkeys(gaussian)),
    )  # fmt: skip
    exact = gradients.astype(np.float64)
    given_ = exact[owners[:rows], places[:rows]] if is_listed else exact.sum(axis=0)
    a = actions[:rows].astype(np.float64)
    d = given_ * (1.0 - a * a)
    if is_gaussian:  # of 0.2 log pi: log(1 - tanh^2) has the derivative -2 tanh; log std has -1
        d = d + 0.4 * a
        d = np.concatenate([d, (d * stds[:rows] * noise[:rows] - 0.2) * inside[:rows]], axis=1)
    np.testing.assert_allclose(from_panels(output[0], rows, outputs), d, rtol=1e-4, atol=1e-5)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, st.integers(1, 3000))
def test_mean(seed, count):
    values, output = 1e3 * normal(np.random.default_rng(seed), count), floats(0.0)
    call("mean", values=values, output=output, count=count)
    np.testing.assert_allclose(output[0], values.astype(np.float64).mean(), rtol=1e-6)
