"""What the native engine is handed wrongly, or at an unusual time."""

import itertools
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
from learning import make_batch, make_learner, states_equal
from small_project import environment

from sacpipe.algorithms.sac_native import NativeSAC
from sacpipe.core.errors import ConfigError
from sacpipe.kernels.program import Program
from sacpipe.networks.kernel_outputs import evaluate_by_kernels
from sacpipe.networks.trunks.mlp import MLPTrunk


@pytest.mark.parametrize(
    ("name", "cut"),
    [
        ("actions", lambda array: array[:8]),
        ("actions", lambda array: array[:, :1]),
        ("discounts", lambda array: array[:4]),
    ],
)
def test_arrays_that_are_too_short_are_refused_and_not_read_beyond_their_end(name, cut):
    batch = make_batch()
    with pytest.raises(ValueError, match="a batch's array: expected shape"):
        NativeSAC(make_learner()).update(replace(batch, **{name: cut(getattr(batch, name))}))


@pytest.mark.parametrize("name", ["actions", "rewards"])
def test_a_batch_that_is_written_again_is_read_again_where_an_array_has_to_be_copied(name):
    plain, copied = NativeSAC(make_learner()), NativeSAC(make_learner())
    batch = make_batch()
    array = getattr(batch, name)
    other = np.asfortranarray(array) if array.ndim == 2 else array.astype(np.float64)
    reused = replace(batch, **{name: other})
    for seed in (1, 2, 3):
        values = getattr(make_batch(seed), name)
        array[...], other[...] = values, values
        plain.update(batch)
        copied.update(reused)
    assert states_equal(plain, copied)


def test_a_subclass_of_a_trunk_is_not_computed_as_its_base_class():
    class Other(MLPTrunk):
        pass

    learner = make_learner()
    learner.actor.network.trunk.__class__ = Other
    assert not evaluate_by_kernels(learner.actor)
    with pytest.raises(ConfigError, match="'native' computes the trunks"):
        NativeSAC(learner)


def test_threads_that_act_at_once_get_their_own_actions():
    learner, wrong = NativeSAC(make_learner()), []
    observations = [make_batch(seed).observations.rows(0) for seed in range(3)]
    expected = [learner.act(observation, None).copy() for observation in observations]

    def act(index):
        for _ in range(2000):
            found = learner.act(observations[index], None)
            wrong.extend([index] * (not np.array_equal(found, expected[index])))

    threads = [threading.Thread(target=act, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_epsilon_that_kernels_take_as_zero_is_refused():
    adam = {"betas": [0.9, 0.999], "epsilon": 1e-39, "weight_decay": 0.0, "schedule": {"name": "constant"}}
    with pytest.raises(ConfigError, match=r"algorithm\.adam\.epsilon: .* at least 1\.2e-38, found 1e-39"):
        NativeSAC(make_learner(adam=adam))


@pytest.mark.parametrize("threads", [1, 2])
def test_kernels_that_are_added_after_a_run_run_too(threads):
    """Many times: a thread that comes late to the first run meets the program while it gets more phases."""
    for _ in range(300):
        program, values = Program(), np.arange(8, dtype=np.float32)
        outputs = [np.zeros(1, dtype=np.float32) for _ in range(12)]
        program.add("mean", values=values, output=outputs[0], count=8)
        program.run(threads)
        for before, output in itertools.pairwise(outputs):
            program.add("mean", values=before, output=output, count=1)
        program.run(threads)
        assert [float(output[0]) for output in outputs] == [3.5] * 12


FORKS = """
import os, threading
from learning import make_batch, make_learner
from sacpipe.algorithms.sac_native import NativeSAC
native, batch, ends = NativeSAC(make_learner()), make_batch(), threading.Event()
native.update(batch)
program = native._program
def work():
    while not ends.is_set():
        program.run(2)
thread = threading.Thread(target=work)
thread.start()
codes = []
for _ in range(20):
    child = os.fork()
    if not child:
        program.run(2)
        os._exit(7)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
ends.set()
thread.join()
print(set(codes))
"""


@pytest.mark.slow
def test_a_child_that_was_forked_while_kernels_ran_can_run_them():
    command = [sys.executable, "-W", "ignore", "-c", FORKS]
    paths = {"PYTHONPATH": ":".join(sys.path)}
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=120, env=environment() | paths
    )
    assert found.stdout == "{7}\n"
