"""Short trainings have one digest: of every instruction set, compiler, number of threads and processor.

`make acceptance` makes `.compilers`; Debian's packages are g++ and qemu-user.
"""

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from pretended import PRETENDED, UNSET
from repository import ROOT

from sacpipe.core.fixed_arithmetic import fixed_environment
from sacpipe.kernels.isa import this_processor

pytestmark = pytest.mark.acceptance

TASKS = ("gymnasium/InvertedDoublePendulum-v5", "dm_control/cheetah-run", "point_mass/point-mass-v0")
PROGRAM = Path(__file__).parent / "short_runs.py"
NATIVE = {"CXX", "SACPIPE_NATIVE_ISA", "SACPIPE_NATIVE_THREADS"}
KEPT = {name: value for name, value in os.environ.items() if name not in UNSET | NATIVE}
ZIG = f"{ROOT / '.compilers' / 'bin' / 'python'} -m ziglang c++"
COMPILERS = {"zig": ZIG} | ({"clang": "clang++"} if shutil.which("clang++") else {})
VARIANTS = (
    {f"set {one.name}": {"SACPIPE_NATIVE_ISA": one.name} for one in this_processor()}
    | {f"{count} threads": {"SACPIPE_NATIVE_THREADS": str(count)} for count in (1, 2, 3)}
    | {name: {"CXX": command} for name, command in COMPILERS.items()}
    | {name: PRETENDED[name] for name in PRETENDED if "Zen" in name or "X" in name or "old" in name}
)


def trained(variables, tasks, *emulator):
    """Train under variables, as a shell has them; return the digests of the outputs."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    environment = KEPT | {"PYTHONPATH": paths} | variables
    if emulator:  # in the fixed environment already: a process that starts itself again would not be emulated
        environment = fixed_environment(environment)
    result = subprocess.run(
        [*emulator, sys.executable, PROGRAM, *tasks],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


@cache
def expected():
    return trained({"CXX": "g++"}, TASKS)


@pytest.mark.parametrize("name", VARIANTS)
def test_three_suites_have_the_bytes_of_the_fastest_set_and_gcc(name):
    assert trained(VARIANTS[name], TASKS) == expected()


def test_a_training_on_an_emulated_haswell_has_them_too():
    """With AVX2 and without AVX-512, as every library of the process sees it."""
    variables = {"SACPIPE_NATIVE_ISA": "x86-64-v3", "CXX": "g++"}
    found = trained(variables, TASKS[:1], "qemu-x86_64", "-cpu", "Haswell")
    assert found[TASKS[0]] == expected()[TASKS[0]]
