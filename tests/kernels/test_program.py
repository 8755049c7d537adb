"""Programs: what they refuse, where their threads wait, and that the number of threads changes no byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panel_layout import floats, slot

from sacpipe.kernels.inference import SingleForward
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.perceptron import NormalisedPerceptrons, Pass, Perceptrons
from sacpipe.kernels.program import Program, _Access, _conflict, signatures

MEAN = {"values": floats(1.0, 2.0), "output": floats(0.0), "count": 2}


def test_a_kernel_must_exist():
    with pytest.raises(ValueError, match="kernel median: expected no kernel of this name, found"):
        Program().add("median", **MEAN)


@pytest.mark.parametrize("changed", [{"values": ...}, {"count": ...}, {"extra": 1}])
def test_its_arguments_are_given_by_name_and_all_of_them(changed):
    arguments = {name: value for name, value in (MEAN | changed).items() if value is not ...}
    with pytest.raises(ValueError, match=r"kernel mean: expected \['count', 'output', 'values'\], found"):
        Program().add("mean", **arguments)


def test_arrays_must_be_contiguous():
    with pytest.raises(ValueError, match="argument values: expected a contiguous array"):
        Program().add("mean", **MEAN | {"values": np.zeros(8, dtype=np.float32)[::2]})


def test_a_refused_kernel_leaves_the_program_as_it_was():
    program = Program()
    with pytest.raises(ValueError, match="contiguous"):
        program.add("mean", **MEAN | {"values": np.zeros(8, dtype=np.float32)[::2]})
    output = floats(0.0)
    assert program.add("mean", **MEAN | {"output": output}) == 1
    assert program.run() == 0
    assert output[0] == 1.5


def test_every_kernel_says_its_units_and_accesses():
    found = signatures()
    assert {"dense", "dense_back", "dense_step", "value", "td_error", "noise", "pack", "mean"} <= set(found)
    for name, (partition, arguments) in found.items():
        assert partition in {"rows", "panels", "once"}, name
        assert set(arguments.values()) <= {"own", "all", "out", "number"}, name
        assert "out" in arguments.values() or name == "check", name


def test_the_number_of_the_kernel_that_refused_is_returned_and_the_next_ones_do_not_run():
    program, values, output = Program(), np.zeros((1, 8), dtype=np.float32), floats(0.0)
    program.add("mean", values=np.ones(8, dtype=np.float32), output=values[0, :1], count=8)
    assert program.add("check", values=values, members=1, rows=8) == 2
    program.add("mean", values=values, output=output, count=8)
    # The third kernel reads what only a wait after the check makes safe to stop at.
    final = floats(0.0)
    program.add("mean", values=output, output=final, count=1)
    for threads in (1, 2, 3):
        assert program.run(threads) == 0
        assert final[0] == np.float32(1 / 8)
        values[0, 5], final[0] = np.nan, -1.0
        assert program.run(threads) == 2
        assert program.run_shares(threads) == 2
        assert final[0] == -1.0
        values[0, 5] = 0.0


KIND = st.sampled_from(["own", "all", "out"])
PLACE = st.tuples(st.integers(0, 12), st.integers(1, 4), st.integers(1, 4))
"""Where an array starts, units of the kernel, and numbers of the array that belong to each."""


def touched(place, kind, unit):
    """The numbers that a unit touches: its own part, or every one."""
    start, units, each = place
    if kind == "all":
        return set(range(start, start + units * each))
    return set(range(start + unit * each, start + (unit + 1) * each))


def must_wait(old, old_kind, new, new_kind):
    """Whether a number is touched by units of both that may be in different threads, and written by one of them."""
    return "out" in (old_kind, new_kind) and any(
        touched(old, old_kind, first) & touched(new, new_kind, second)
        for first in range(old[1])
        for second in range(new[1])
        if first != second or old[1] != new[1]
    )


def access(place, kind, partition="rows"):
    start, units, each = place
    return _Access(start, start + units * each, kind, (partition, units))


@settings(deadline=None)  # the first call may compile the kernels
@given(PLACE.filter(lambda place: place[1] > 1), KIND, KIND)
def test_the_same_units_of_one_array_meet_only_where_one_reads_everything(place, old, new):
    found = _conflict(access(place, old), access(place, new))
    assert found == must_wait(place, old, place, new)


@settings(deadline=None)  # the first call may compile the kernels
@given(PLACE, KIND, PLACE, KIND)
def test_arrays_that_are_cut_otherwise_are_waited_for_wherever_they_meet(old, old_kind, new, new_kind):
    first, second = access(old, old_kind), access(new, new_kind, "panels")
    if must_wait(old, old_kind, new, new_kind):
        assert _conflict(first, second)
        assert _conflict(second, first)
    overlap = first.start < second.end and second.start < first.end
    assert _conflict(first, second) == (overlap and "out" in (old_kind, new_kind))


DIMS = [5, 70, 33, 4]


def make_stack(seed=0, members=2, is_critic=False, dims=DIMS, kind=Perceptrons):
    stack = kind(Memory(), members, dims, has_slow=True, is_critic=is_critic)
    rng = np.random.default_rng(seed)
    for layer in stack.layers:
        weight = rng.standard_normal((members, layer.inputs, layer.outputs), dtype=np.float32)
        layer.put(
            layer.parameters, weight, rng.standard_normal((members, 1, layer.outputs), dtype=np.float32)
        )
        layer.turn()
        if layer.norm is not None:
            weight, bias = rng.standard_normal((2, members, 1, layer.outputs), dtype=np.float32)
            layer.norm.put(layer.norm.parameters, weight, bias)
    return stack


def test_layers_over_the_same_rows_need_no_wait():
    program, stack = Program(), make_stack()
    stack.forward(program, stack.inputs(20, parts=2), 20)
    assert program.waits == 0


def test_inputs_of_all_members_are_waited_for():
    """The rows of one member's part are read by all members' units."""
    program, stack = Program(), make_stack()
    inputs, rows = stack.inputs(20), np.zeros((20, 5), dtype=np.float32)
    program.add(
        "pack", first=slot(rows), second=None, output=inputs, mean=None, scale=None, chosen=None, parts=1, rows=20,
        first_columns=5, second_columns=0, held=24, output_step=0, limit=10,
    )  # fmt: skip
    stack.forward(program, inputs, 20)
    assert program.waits == 1


class WithoutWaits(Program):
    """Its threads never wait."""

    def _accesses(self, *_):
        return []


def compose(kind, seed=0):
    """Forward, back and one step of a stack; all its numbers."""
    program, stack = kind(), make_stack(seed)
    inputs, numbers = stack.inputs(50, parts=2), floats(0.1, 0.9, 0.1, 0.01, 1.0, 1e-8, 1.0, 0.5)
    inputs[:, :, :50, :5] = np.random.default_rng(1).standard_normal((2, 1, 50, 5))
    done = stack.forward(program, inputs, 50)
    delta = np.random.default_rng(2).standard_normal(done.output.shape, dtype=np.float32)
    deltas = stack.backward(program, done, delta)
    stack.step(program, done, deltas, delta, numbers, 50)
    again: Pass = stack.forward(program, inputs, 50)
    return program, stack, again


def run(kind, runner):
    program, stack, again = compose(kind)
    for _ in range(3):
        assert runner(program) == 0
    arrays = [array for _, tensors, _ in stack.tensors() for array in tensors]
    return [array.tobytes() for array in (*arrays, again.output)]


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 16])
def test_the_number_of_threads_changes_no_byte(threads):
    reference = run(Program, lambda program: program.run(1))
    assert run(Program, lambda program: program.run(threads)) == reference
    assert run(Program, lambda program: program.run_shares(threads)) == reference


def test_shares_in_another_order_show_a_missing_wait():
    reference = run(Program, lambda program: program.run(1))
    # Before the backward pass, whose masks may be at any row; before the step; before the stepped parameters are read.
    assert compose(Program)[0].waits == 3
    assert compose(WithoutWaits)[0].waits == 0
    assert run(WithoutWaits, lambda program: program.run(1)) == reference
    assert run(WithoutWaits, lambda program: program.run_shares(3)) != reference


@pytest.mark.parametrize("kind", [Perceptrons, NormalisedPerceptrons])
@pytest.mark.parametrize("dims", [DIMS, [40, 300, 17], [1, 1, 1], [64, 32, 32, 16]])
def test_a_single_row_has_the_bytes_of_a_batch(dims, kind):
    stack = make_stack(members=1, dims=dims, kind=kind)
    program, inputs = Program(), stack.inputs(11)
    rows = np.random.default_rng(4).standard_normal((11, dims[0]), dtype=np.float32)
    full = np.zeros((inputs.shape[1] * 32, 11), dtype=np.float32).T
    full[:, : dims[0]] = rows
    inputs[0, :, :11] = full.reshape(11, -1, 32).swapaxes(0, 1)
    output = stack.forward(program, inputs, 11).output
    program.run()
    batch = output[0].swapaxes(0, 1).reshape(output.shape[2], -1)[:11, : dims[-1]]
    forward = SingleForward(stack)
    for row, expected in zip(rows, batch, strict=True):
        assert forward(row).tobytes() == np.ascontiguousarray(expected).tobytes()
