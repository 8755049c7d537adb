"""Updates with products of bfloat16: close to autograd's, not equal, and the same bytes from any number of threads.

On a processor without such products each test sees the refusal instead.
"""

import numpy as np
import pytest
from learning import SPEC, furthest, make_batch, make_learner, without_noise
from native_child import NATIVE
from test_native_engine import given_noise
from test_torch_engine import ASYMMETRIC, attach, mlp

from sacpipe.algorithms.sac_native import NativeSAC
from sacpipe.core.errors import KernelError
from sacpipe.kernels.isa import chosen
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import PANEL, Perceptrons, panels
from sacpipe.kernels.products_bf16 import rounded
from sacpipe.kernels.program import Program

HAS_PRODUCTS = chosen().name == "avx512-bf16"
SIZES = [
    {},
    mlp(300, 40, 7),
    mlp(7),
    {"spec": ASYMMETRIC, **mlp(33, 65, 17)},
    {"num_critics": 3, "actor_q": "mean", "normalise_observations": True, **mlp(9, 5, 7)},
]


def make_native(name="sac", seed=6, **changes):
    """Return a learner with products of bfloat16, or None where it is refused as it must be."""
    learner = make_learner(name, seed=seed, **changes)
    if HAS_PRODUCTS:
        return NATIVE[name](learner, "bfloat16")
    with pytest.raises(KernelError, match=r"'bfloat16' needs .* avx512-bf16.* Write `precision: float32`"):
        NATIVE[name](learner, "bfloat16")
    return None


def moments(learner):
    return {name: value for name, value in without_noise(learner).items() if name.endswith("mean")}


def length(arrays):
    return np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays.values()))


@pytest.mark.parametrize("changes", SIZES)
@pytest.mark.parametrize("size", [16, 13, 1])
def test_one_steps_gradients_are_those_of_torchs_bfloat16(changes, size):
    """Against autograd they are some hundredths off: a unit near zero is active in one precision alone."""
    native = make_native(**changes)
    if native is None:
        return
    spec = changes.get("spec", SPEC)
    rough, exact = make_learner(seed=5, **changes), make_learner(seed=4, **changes)
    for learner in (rough, exact):
        learner.load_state(native.state())
    batch = make_batch(20, spec=spec, size=size)
    native.update(batch)
    for learner, update in ((rough, attach(rough, "bfloat16")), (exact, exact.update)):
        given_noise(learner, native, size)
        update(batch)
    found, near, expected = moments(native), moments(rough), moments(exact)
    assert furthest(near, found) < 0.02
    error = length({name: found[name] - expected[name] for name in found}) / length(expected)
    assert 1e-4 < error < 0.15
    assert native.diagnostics() == pytest.approx(exact.diagnostics(), rel=0.1, abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_a_thousand_updates_stay_near_those_in_float32(name):
    """Both precisions draw the same noise; what they learn differs by roundings, and not by their sum."""
    native = make_native(name, **mlp(40, 24))
    if native is None:
        return
    exact = NATIVE[name](make_learner(name, seed=6, **mlp(40, 24)))
    for step in range(1000):
        native.update(make_batch(step % 7, size=13))
        exact.update(make_batch(step % 7, size=13))
    assert all(np.isfinite(value).all() for value in native.state().values())
    found, expected = native.diagnostics(), exact.diagnostics()
    names = [key for key in expected if "value" in key or "q_" in key or "entropy" in key]
    assert names
    assert {key: found[key] for key in names} == pytest.approx(
        {key: expected[key] for key in names}, rel=0.2, abs=0.2
    )


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("changes", [mlp(300, 40, 7), mlp(96, 64)])
def test_the_number_of_threads_changes_no_byte(name, changes, monkeypatch):
    states = []
    for threads in (1, 2, 3):
        monkeypatch.setenv("SACPIPE_NATIVE_THREADS", str(threads))
        native = make_native(name, **changes)
        if native is None:
            return
        for step in range(6):
            native.update(make_batch(step, size=77))
        states.append(native.state())
    for state in states[1:]:
        assert all(np.array_equal(states[0][key], state[key]) for key in state)


@pytest.mark.parametrize("name", NATIVE)
def test_no_wait_is_missing(name, monkeypatch):
    states = []
    for run in (Program.run, lambda program: program.run_shares(3)):
        monkeypatch.setattr(Program, "run", run)
        native = make_native(name, **mlp(70, 40))
        if native is None:
            return
        for step in range(4):
            native.update(make_batch(step, size=77))
        states.append(native.state())
    assert all(np.array_equal(states[0][key], states[1][key]) for key in states[0])


def test_loading_makes_the_rounded_copies_that_training_made():
    native, other = make_native(**mlp(33, 17)), make_native(seed=8, **mlp(33, 17))
    if native is None:
        return
    for step in range(5):
        native.update(make_batch(step, size=13))
    other.load_state(native.state())
    for step in range(5):
        native.update(make_batch(step + 5, size=13))
        other.update(make_batch(step + 5, size=13))
    first, second = native.state(), other.state()
    assert all(np.array_equal(first[key], second[key]) for key in first)


def test_acting_is_in_float32():
    native = make_native()
    if native is None:
        return
    observation = make_batch().observations.rows(0)
    plain = NativeSAC(make_learner(seed=6))
    np.testing.assert_array_equal(native.act(observation, None), plain.act(observation, None))


def test_rounding_is_to_the_nearest_and_to_even_at_a_tie():
    ones = np.float32([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 1e-40, np.inf])
    expected = np.float32([1.0, 1.0, 1 + 4 * 2**-8, 1 + 2 * 2**-8, -1.0, 0.0, np.inf])
    np.testing.assert_array_equal((rounded(ones) << np.uint32(16)).view(np.float32), expected)


def test_products_of_rounded_numbers_are_the_kernels():
    """One layer of small whole numbers, which bfloat16 and the sums hold exactly: no rounding hides a wrong place."""
    if make_native() is None:
        return
    generator = np.random.default_rng(0)
    memory, program, rows, dims = Memory(), Program(), 11, (37, 45, 33)
    stack = Perceptrons(memory, 2, dims, has_slow=False, is_critic=False, precision="bfloat16")
    weights = []
    for layer in stack.layers:
        weight = generator.integers(-3, 4, (2, layer.inputs, layer.outputs)).astype(np.float32)
        bias = generator.integers(-3, 4, (2, 1, layer.outputs)).astype(np.float32)
        layer.put(layer.parameters, weight, bias)
        layer.turn()
        weights.append((weight, bias))
    inputs = stack.inputs(rows)
    x = generator.integers(-2, 3, (rows, dims[0])).astype(np.float32)
    padded_x = np.zeros((16, panels(dims[0]) * PANEL), dtype=np.float32)
    padded_x[:rows, : dims[0]] = x
    inputs[0] = padded_x.reshape(16, -1, PANEL).transpose(1, 0, 2)
    done = stack.forward(program, inputs, rows)
    assert program.run() == 0
    hidden = np.maximum(x @ weights[0][0] + weights[0][1], 0)
    kept = (rounded(hidden) << np.uint32(16)).view(np.float32)
    expected = kept @ weights[1][0] + weights[1][1]
    found = done.output.transpose(0, 2, 1, 3).reshape(2, 16, -1)[:, :rows, : dims[2]]
    np.testing.assert_array_equal(found, expected)
