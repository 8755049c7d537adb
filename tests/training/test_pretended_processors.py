"""Bytes do not move when NumPy, OpenBLAS and glibc pretend, by their own variables, to be on other processors.

What the variables do without our care is shown first, so that equal digests mean something.
"""

import json
import os
import subprocess
import sys
from functools import cache

import pytest
from pretended import AVX2_NUMPY, HAS_AVX512, PRETENDED, UNSET
from repository import ROOT

from sacpipe.core.fixed_arithmetic import fixed_environment


def found(parts, variables, *, is_fixed=False):
    """Run the program under variables, as a shell has them or as a fixed process gets them; return its digests."""
    kept = {name: value for name, value in os.environ.items() if name not in UNSET}
    environment = kept | {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)} | variables
    result = subprocess.run(
        [sys.executable, ROOT / "tests" / "rounding.py", *parts],
        env=fixed_environment(environment) if is_fixed else environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@cache
def unchanged(*parts, is_fixed):
    return found(parts, {}, is_fixed=is_fixed)


@pytest.mark.slow
def test_numpy_and_openblas_move_with_the_processor_and_a_fixed_process_does_not():
    as_is = unchanged("moving", is_fixed=False)["moving"]
    assert (found(["moving"], AVX2_NUMPY)["moving"]["functions"] != as_is["functions"]) is HAS_AVX512
    other_core = found(["moving"], PRETENDED["OpenBLAS on Sandy Bridge"])["moving"]
    assert other_core["sums"] != as_is["sums"]
    fixed = unchanged("moving", is_fixed=True)
    for variables in PRETENDED.values():
        assert found(["moving"], variables, is_fixed=True) == fixed


@pytest.mark.slow
@pytest.mark.parametrize("name", PRETENDED)
def test_statistics_have_a_fixed_order_in_any_process(name):
    """Also in a notebook, which nothing has fixed."""
    parts = ("statistics", "value_bias")
    assert found(parts, PRETENDED[name]) == unchanged(*parts, is_fixed=False)


@pytest.mark.acceptance
def test_rewards_of_dm_control_move_and_in_a_fixed_process_they_do_not():
    """Its tolerances are float64 functions of NumPy; the bodies' positions do not move either way."""
    as_is, avx2 = unchanged("tasks", is_fixed=False)["tasks"], found(["tasks"], AVX2_NUMPY)["tasks"]
    rewards, seen = zip(
        as_is["dm_control/cartpole-balance"], avx2["dm_control/cartpole-balance"], strict=True
    )
    assert (rewards[0] != rewards[1]) is HAS_AVX512
    assert seen[0] == seen[1]
    for name, variables in PRETENDED.items():
        assert found(["tasks"], variables, is_fixed=True) == unchanged("tasks", is_fixed=True), name


@pytest.mark.acceptance
@pytest.mark.parametrize("name", PRETENDED)
def test_a_training_has_the_same_bytes_whatever_the_shell_pretends(name):
    """Curve, evaluation, metrics, policy and pool: the process of the training fixes itself."""
    assert found(["training"], PRETENDED[name]) == unchanged("training", is_fixed=False)
