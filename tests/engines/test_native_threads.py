"""The number of threads, a fork, and the order in which threads run change no byte of whole updates."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from learning import SPEC, make_batch, make_learner
from native_child import BATCH, NATIVE, digest, make_native, update
from test_torch_engine import ASYMMETRIC, mlp

from sacpipe.algorithms.sac_native import NativeSAC
from sacpipe.kernels.memory import Memory
from sacpipe.kernels.program import Program

HERE = Path(__file__).parent


def run_child(name, threads, *how):
    """Threads and digest of every process."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent), *sys.path])
    environment = os.environ | {"SACPIPE_NATIVE_THREADS": str(threads), "PYTHONPATH": paths}
    command = [sys.executable, str(HERE / "native_child.py"), name, "6", *how]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [(int(count), value) for count, value in (line.split() for line in done.stdout.splitlines())]


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_any_number_of_threads_gives_the_same_bytes(name):
    found = {threads: run_child(name, threads) for threads in (1, 2, 3, 5)}
    assert {threads: count for threads, [(count, _)] in found.items()} == {1: 1, 2: 2, 3: 3, 5: 5}
    assert len({value for [(_, value)] in found.values()}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_both_processes_go_on_after_a_fork(name):
    """The child has threads of its own."""
    [(alone, value)] = run_child(name, 3)
    assert run_child(name, 3, "fork") == [(alone, value)] * 2


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("threads", [2, 3, 5, 64])
def test_no_wait_is_missing_in_a_whole_update(name, threads, monkeypatch):
    reference = make_native(name)
    update(reference, range(4))
    monkeypatch.setattr(Program, "run", lambda program: program.run_shares(threads))
    found = make_native(name)
    update(found, range(4))
    assert digest(found) == digest(reference)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("sac", {"num_critics": 3, "actor_q": "mean", **mlp(9, 5, 7)}),
        ("sac", {"num_critics": 1, **mlp(32)}),
        ("sac", {"spec": ASYMMETRIC, "normalise_observations": True, **mlp(33, 65)}),
        ("tqc", {"actor_q": "min", "num_quantiles": 40, **mlp(9, 5, 7)}),
        ("tqc", {"num_critics": 1, "num_quantiles": 5, **mlp(32)}),
    ],
)
def test_no_wait_is_missing_in_other_compositions(name, changes, monkeypatch):
    spec, kind = changes.get("spec", SPEC), NATIVE[name]
    first, second = kind(make_learner(name, **changes)), kind(make_learner(name, **changes))
    for number in range(3):
        first.update(make_batch(number, size=29, spec=spec))
    monkeypatch.setattr(Program, "run", lambda program: program.run_shares(3))
    for number in range(3):
        second.update(make_batch(number, size=29, spec=spec))
    assert digest(first) == digest(second)


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("trunk", ["mlp", "layer_norm_mlp"])
@pytest.mark.parametrize(("dims", "size"), [((8, 8), 16), ((33, 70), 35), ((5,), 3)])
def test_no_kernel_writes_beside_its_arrays(name, dims, size, trunk, monkeypatch):
    """The bytes between arrays of `Memory` stay zero."""
    made, zeros = [], Memory.zeros

    def recorded(memory, *shape, **dtype):
        made.append(zeros(memory, *shape, **dtype))
        return made[-1]

    monkeypatch.setattr(Memory, "zeros", recorded)
    network = {"name": trunk, "hidden_dims": list(dims)}
    native = NATIVE[name](make_learner(name, network=network))
    for number in range(3):
        native.update(make_batch(number, size=size))
    native.value(make_batch().observations.rows(0), make_batch().actions[0])
    chunk = np.frombuffer(native.memory._chunk, dtype=np.uint8)
    start, outside = chunk.ctypes.data, np.ones(chunk.size, dtype=bool)
    for array in made:
        first = array.ctypes.data - start
        assert 0 <= first < chunk.size
        outside[first : first + array.nbytes] = False
    assert outside.sum() > 100 * len(made)
    assert not chunk[outside].any()


def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.parametrize("name", NATIVE)
def test_memory_is_flat_over_20_000_updates(name):
    native, batches = NATIVE[name](make_learner(name)), [make_batch(number, size=8) for number in range(5)]
    for number in range(2000):
        native.update(batches[number % 5])
    before = resident_bytes()
    for number in range(20_000):
        native.update(batches[number % 5])
    assert resident_bytes() - before < 1 << 20


@pytest.mark.slow
def test_memory_is_flat_where_batches_change_their_size():
    """Every size has a program of its own; the last one's arrays are freed with it."""
    native = NativeSAC(make_learner(**mlp(128, 128)))
    batches = [make_batch(number, size=size) for number, size in enumerate((BATCH, BATCH + 1))]
    for number in range(60):
        native.update(batches[number % 2])
    before = resident_bytes()
    for number in range(200):
        native.update(batches[number % 2])
    assert resident_bytes() - before < 16 << 20
