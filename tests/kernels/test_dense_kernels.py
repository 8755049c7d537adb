"""Kernels of layers against NumPy in float64, on random sizes and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_layout import call, floats, from_panels, to_panels, zero_panels

from sacpipe.kernels.layers import Layer, Shape, width_of
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import PANEL, Perceptrons, padded, panels, power, step_numbers
from sacpipe.kernels.program import Program

ROWS, MEMBERS, SEED = st.integers(1, 40), st.integers(1, 3), st.integers(0, 2**32 - 1)
FEATURES = st.one_of(st.integers(1, 70), st.integers(250, 300))
SHAPE = st.tuples(MEMBERS, ROWS, FEATURES, st.integers(1, 70))
"""Members, rows, inputs and outputs."""
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


def normal(rng, *shape):
    return rng.standard_normal(shape, dtype=np.float32)


def make_layer(rng, members, inputs, outputs, width, *, is_value=False, has_slow=True):
    """A layer with random numbers in all arrays, and copies of them in float64 and plain shapes."""
    shape = Shape(inputs, outputs, width, is_value=is_value, has_slow=has_slow, is_turned=True)
    layer = Layer(Memory(), members, shape)
    copies = {}
    for kind in ("parameters", "means", "squares", "slow"):
        if getattr(layer, kind) is None:
            continue
        weight, bias = normal(rng, members, inputs, outputs), normal(rng, members, 1, outputs)
        if kind == "squares":
            weight, bias = np.square(weight), np.square(bias)
        layer.put(getattr(layer, kind), weight, bias)
        copies[kind] = weight.astype(np.float64), bias.astype(np.float64)
    layer.turn()
    return layer, copies


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, SHAPE, st.booleans(), st.booleans())
def test_dense(seed, shape, is_hidden, is_shared):
    members, rows, inputs, outputs = shape
    rng = np.random.default_rng(seed)
    width = PANEL if is_hidden else width_of(outputs)
    layer, copies = make_layer(rng, members, inputs, outputs, width)
    x = normal(rng, 1 if is_shared else members, rows, inputs)
    packed, output = to_panels(x), zero_panels(members, rows, outputs, width)
    call(
        "dense", input=packed, weights=layer.parameters.weights, bias=layer.parameters.bias, output=output,
        members=members, rows=rows, inputs=inputs, outputs=outputs, width=width,
        input_stride=0 if is_shared else packed[0].size, relu=int(is_hidden),
    )  # fmt: skip
    weight, bias = copies["parameters"]
    expected = x.astype(np.float64) @ weight + bias
    expected = np.maximum(expected, 0.0) if is_hidden else expected
    np.testing.assert_allclose(from_panels(output, rows, outputs), expected, **CLOSE)
    filled = output.transpose(0, 2, 1, 3).reshape(members, padded(rows), -1)
    assert not filled[:, :, outputs:].any()


def test_dense_by_hand():
    """h = relu((1, 2) W + b), W = ((1, -1), (3, 0)), b = (0.5, 0.25): (7.5, -0.75) before the ReLU."""
    layer = Layer(Memory(), 1, Shape(2, 2, PANEL, is_value=False, has_slow=False, is_turned=False))
    weight, bias, x = np.float32([[[1, -1], [3, 0]]]), np.float32([[[0.5, 0.25]]]), np.float32([[[1, 2]]])
    layer.put(layer.parameters, weight, bias)
    output = zero_panels(1, 1, 2)
    for relu, expected in ((1, [7.5, 0.0]), (0, [7.5, -0.75])):
        call(
            "dense", input=to_panels(x), weights=layer.parameters.weights,
            bias=layer.parameters.bias, output=output, members=1, rows=1, inputs=2, outputs=2, width=PANEL,
            input_stride=0, relu=relu,
        )  # fmt: skip
        np.testing.assert_array_equal(from_panels(output, 1, 2)[0, 0], floats(*expected))


def make_lists(rng, members, rows):
    """A random owner of every row, as the kernel `lowest` writes them."""
    owners = rng.integers(0, members, rows)
    lists, counts = np.zeros((members, padded(rows)), dtype=np.int32), np.zeros(members, dtype=np.int32)
    for member in range(members):
        mine = np.flatnonzero(owners == member)
        lists[member, : len(mine)], counts[member] = mine, len(mine)
    return lists, counts


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, SHAPE, st.booleans(), st.booleans())
def test_dense_back(seed, shape, is_masked, is_listed):
    members, rows, inputs, outputs = shape
    rng = np.random.default_rng(seed)
    layer, copies = make_layer(rng, members, inputs, outputs, PANEL)
    delta, active = normal(rng, members, rows, outputs), normal(rng, members, rows, inputs)
    lists, counts = make_lists(rng, members, rows) if is_listed else (None, None)
    packed, mask, output = to_panels(delta), to_panels(active), zero_panels(members, rows, inputs)
    call(
        "dense_back", delta=packed, turned=layer.turned, mask=mask if is_masked else None, output=output,
        lists=lists, counts=counts, members=members, rows=rows, inputs=inputs, outputs=outputs, delta_width=PANEL,
        width=PANEL, delta_stride=packed[0].size, mask_stride=mask[0].size if is_masked else 0,
        delta_rows=padded(rows),
    )  # fmt: skip
    expected = delta.astype(np.float64) @ copies["parameters"][0].swapaxes(1, 2)
    found = from_panels(output, rows, inputs)
    for member in range(members):
        count = counts[member] if is_listed else rows
        seen = active[member][lists[member, :count]] if is_listed else active[member]
        kept = np.where(seen > 0, expected[member, :count], 0.0) if is_masked else expected[member, :count]
        np.testing.assert_allclose(found[member, :count], kept, **CLOSE)


NUMBERS = {"step": 7, "learning_rate": 0.01, "betas": (0.9, 0.99), "epsilon": 1e-3, "weight_decay": 0.3}


def adam(copies, gradient, index, tau):
    """Kingma & Ba 2014, algorithm 1, with decoupled decay; the step and the slow copy of one array."""
    (first, second), rate = NUMBERS["betas"], NUMBERS["learning_rate"]
    mean = first * copies["means"][index] + (1 - first) * gradient
    square = second * copies["squares"][index] + (1 - second) * gradient**2
    corrected = np.sqrt(square / (1 - second ** NUMBERS["step"])) + NUMBERS["epsilon"]
    parameter = copies["parameters"][index] * (1 - rate * NUMBERS["weight_decay"])
    parameter = parameter - rate * mean / (1 - first ** NUMBERS["step"]) / corrected
    slow = copies["slow"][index] if "slow" in copies else np.zeros_like(parameter)
    return {
        "parameters": parameter, "means": mean, "squares": square, "slow": slow + tau * (parameter - slow)
    }  # fmt: skip


def check_layer(layer, copies, gradients, tau):
    for kind in copies:
        weight, bias = (np.zeros(copies[kind][i].shape, dtype=np.float32) for i in range(2))
        layer.get(getattr(layer, kind), weight, bias)
        for found, index in ((weight, 0), (bias, 1)):
            np.testing.assert_allclose(found, adam(copies, gradients[index], index, tau)[kind], **CLOSE)
    total = sum(np.square(gradient).sum() for gradient in gradients)
    np.testing.assert_allclose(layer.squared_gradients.sum(dtype=np.float64), total, rtol=1e-4, atol=1e-6)


def step_arguments(layer, numbers):
    slow = layer.slow
    return {
        "weights": layer.parameters.weights, "bias": layer.parameters.bias, "weight_means": layer.means.weights,
        "weight_squares": layer.squares.weights, "bias_means": layer.means.bias,
        "bias_squares": layer.squares.bias, "slow_weights": None if slow is None else slow.weights,
        "slow_bias": None if slow is None else slow.bias, "squares": layer.squared_gradients, "step": numbers,
    }  # fmt: skip


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, SHAPE, st.booleans(), st.sampled_from([None, 0.0, 0.25]))
def test_dense_step(seed, shape, is_hidden, tau):
    members, rows, inputs, outputs = shape
    rng = np.random.default_rng(seed)
    width = PANEL if is_hidden else width_of(outputs)
    layer, copies = make_layer(rng, members, inputs, outputs, width, has_slow=tau is not None)
    x, delta = normal(rng, members, rows, inputs), normal(rng, members, rows, outputs)
    packed, numbers = to_panels(x), floats(*[0] * 8)
    numbers[:] = step_numbers(tau=tau or 0.0, **NUMBERS)
    call(
        "dense_step", input=packed, delta=to_panels(delta, width), turned=layer.turned, members=members, rows=rows,
        inputs=inputs, outputs=outputs, width=width, input_stride=packed[0].size, input_rows=padded(rows),
        **step_arguments(layer, numbers),
    )  # fmt: skip
    exact = delta.astype(np.float64)
    gradients = x.astype(np.float64).swapaxes(1, 2) @ exact, exact.sum(axis=1, keepdims=True)
    check_layer(layer, copies, gradients, tau or 0.0)
    stepped = layer.turned.copy()
    layer.turn()
    np.testing.assert_array_equal(stepped, layer.turned)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, MEMBERS, ROWS, FEATURES)
def test_value(seed, members, rows, inputs):
    rng = np.random.default_rng(seed)
    layer, copies = make_layer(rng, members, inputs, 1, PANEL, is_value=True)
    x, values = normal(rng, members, rows, inputs), np.zeros((members, padded(rows)), dtype=np.float32)
    call(
        "value", input=to_panels(x), weights=layer.parameters.weights, bias=layer.parameters.bias, values=values,
        members=members, rows=rows, inputs=inputs,
    )  # fmt: skip
    weight, bias = copies["parameters"]
    np.testing.assert_allclose(values[:, :rows], (x.astype(np.float64) @ weight + bias)[:, :, 0], **CLOSE)


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, MEMBERS, ROWS, FEATURES, st.booleans())
def test_value_back(seed, members, rows, inputs, is_listed):
    rng = np.random.default_rng(seed)
    layer, copies = make_layer(rng, members, inputs, 1, PANEL, is_value=True)
    delta, active = normal(rng, members, padded(rows)), normal(rng, members, rows, inputs)
    lists, counts = make_lists(rng, members, rows) if is_listed else (None, None)
    output = zero_panels(members, rows, inputs)
    call(
        "value_back", delta=delta, weights=layer.parameters.weights, mask=to_panels(active), output=output,
        lists=lists, counts=counts, members=members, rows=rows, inputs=inputs,
    )  # fmt: skip
    expected = delta[:, :rows, None] * copies["parameters"][0].swapaxes(1, 2)
    expected = np.where(active > 0, expected, 0.0)
    found = from_panels(output, rows, inputs)
    for member in range(members):
        seen = lists[member, : counts[member]] if is_listed else np.arange(rows)
        np.testing.assert_allclose(found[member, : len(seen)], expected[member, seen], rtol=1e-6)


@pytest.mark.slow
@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, MEMBERS, ROWS, FEATURES, st.sampled_from([None, 0.0, 0.25]))
def test_value_step(seed, members, rows, inputs, tau):
    rng = np.random.default_rng(seed)
    layer, copies = make_layer(rng, members, inputs, 1, PANEL, is_value=True, has_slow=tau is not None)
    x, delta = normal(rng, members, rows, inputs), normal(rng, members, padded(rows))
    numbers = floats(*[0] * 8)
    numbers[:] = step_numbers(tau=tau or 0.0, **NUMBERS)
    call(
        "value_step", input=to_panels(x), delta=delta, members=members, rows=rows, inputs=inputs,
        **step_arguments(layer, numbers),
    )  # fmt: skip
    exact = delta[:, :rows, None].astype(np.float64)
    gradients = x.astype(np.float64).swapaxes(1, 2) @ exact, exact.sum(axis=1, keepdims=True)
    check_layer(layer, copies, gradients, tau or 0.0)


@settings(deadline=None)  # the first call may compile the kernels
@given(SEED, MEMBERS, st.integers(0, 40), st.integers(1, 40), st.integers(1, 70))
def test_turn_inputs(seed, members, first, columns, outputs):
    rng = np.random.default_rng(seed)
    layer, copies = make_layer(rng, members, first + columns, outputs, PANEL)
    width = width_of(columns)
    turned = np.zeros((members, panels(columns, width), outputs, width), dtype=np.float32)
    call(
        "turn_inputs", weights=layer.parameters.weights, turned=turned, members=members, inputs=first + columns,
        outputs=outputs, width=PANEL, first=first, columns=columns, turned_width=width,
    )  # fmt: skip
    whole = turned.transpose(0, 2, 1, 3).reshape(members, outputs, -1)[:, :, :columns]
    np.testing.assert_array_equal(whole, copies["parameters"][0][:, first:].swapaxes(1, 2))


def test_a_step_of_tau_0_keeps_the_slow_copy_beside_a_parameter_that_overflowed():
    layer, _ = make_layer(np.random.default_rng(0), 1, 3, 2, PANEL)
    layer.parameters.weights[...] = np.inf
    before, numbers = layer.slow.weights.copy(), floats(*[0] * 8)
    numbers[:] = step_numbers(tau=0.0, **NUMBERS)
    call(
        "dense_step", input=zero_panels(1, 8, 3), delta=zero_panels(1, 8, 2), turned=layer.turned, members=1, rows=8,
        inputs=3, outputs=2, width=PANEL, input_stride=0, input_rows=8, **step_arguments(layer, numbers),
    )  # fmt: skip
    np.testing.assert_array_equal(layer.slow.weights, before)


@pytest.mark.parametrize("base", [0.9, 0.999])
@pytest.mark.parametrize("exponent", [0, 1, 2, 31, 1000])
def test_power(base, exponent):
    assert power(base, exponent) == pytest.approx(base**exponent, rel=1e-12)


@pytest.mark.parametrize("is_critic", [True, False])
def test_the_first_member_is_a_view(is_critic):
    """Its pass has the rows of the whole stack's first member, and it sees later changes."""
    rng = np.random.default_rng(3)
    stack = Perceptrons(Memory(), 3, [5, 40, 7, 1], has_slow=True, is_critic=is_critic)
    outputs = []
    for one in (stack, stack.first()):
        program, inputs = Program(), one.inputs(9)
        inputs[0, 0, :9, :5] = np.linspace(-1.0, 1.0, 45).reshape(9, 5)
        outputs.append((program, one.forward(program, inputs, 9).output))
    for layer in stack.layers:
        weight = normal(rng, 3, layer.inputs, layer.outputs)
        layer.put(layer.parameters, weight, normal(rng, 3, 1, layer.outputs))
    for program, _ in outputs:
        program.run()
    np.testing.assert_array_equal(outputs[0][1][:1], outputs[1][1])
    assert np.abs(outputs[1][1]).max() > 0
