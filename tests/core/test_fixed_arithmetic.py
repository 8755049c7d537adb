"""A process that makes outputs has the same arithmetic whatever the shell and the processor choose."""

import os
import subprocess
import sys

import pytest
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

from sacpipe.core import fixed_arithmetic
from sacpipe.core.fixed_arithmetic import NUMPY_TARGETS, OPENBLAS_CORE, fixed_environment

OTHERS = {
    "NPY_ENABLE_CPU_FEATURES": "AVX512_SPR",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3",
    "OPENBLAS_CORETYPE": "SkylakeX",
    "OPENBLAS_NUM_THREADS": "2",
    "ATEN_CPU_CAPABILITY": "default",
}
"""What a shell might have set."""
SHOW = """
import json, warnings
warnings.simplefilter("error")
import numpy, threadpoolctl
from numpy._core._multiarray_umath import __cpu_features__
(blas,) = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
wide = sorted(name for name, is_on in __cpu_features__.items() if is_on and name in {targets!r})
print(json.dumps([wide, __cpu_features__["X86_V3"], blas["architecture"], blas["num_threads"]]))
"""
RESTARTED = """
import os, sys
from sacpipe.core.fixed_arithmetic import restart_fixed
restart_fixed()
print(os.getpid(), sys.argv[1:], "numpy" in sys.modules, os.environ.get("NPY_ENABLE_CPU_FEATURES"), flush=True)
print(*sys.stdin.read().split(), file=sys.stderr)
"""


def python(code, environment, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        **options,
    )


def test_the_names_are_all_that_this_numpy_has_kernels_for_beyond_x86_64_v3():
    assert set(__cpu_dispatch__) - {"X86_V3"} == set(NUMPY_TARGETS)


@pytest.mark.parametrize("shell", [{}, OTHERS], ids=["none", "others"])
def test_numpy_and_its_blas_use_x86_64_v3_without_a_warning(shell):
    environment = fixed_environment({**os.environ, **shell})
    out = python(SHOW.format(targets=NUMPY_TARGETS), environment).stdout
    assert out.strip() == f'[[], {"true" if __cpu_features__["X86_V3"] else "false"}, "{OPENBLAS_CORE}", 1]'


def test_the_same_environment_comes_of_any_and_of_itself():
    assert fixed_environment({"A": "b"} | OTHERS) == fixed_environment({"A": "b"})
    assert fixed_environment(fixed_environment(OTHERS)) == fixed_environment({})


@pytest.mark.parametrize(
    "cpuinfo", ["", "flags\t\t: avx fma\n", "flags : avx2 bmi1 bmi2 f16c fma abm movbe\nflags : avx2\n"]
)
def test_a_processor_that_lacks_an_instruction_keeps_its_librarys_choice(monkeypatch, tmp_path, cpuinfo):
    """OpenBLAS runs the kernels of a named core unasked: one without AVX2 would die."""
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(fixed_arithmetic, "_CPUINFO", tmp_path / "cpuinfo")
    fixed_arithmetic._is_x86_64_v3.cache_clear()
    try:
        assert fixed_environment({}) == {"OPENBLAS_NUM_THREADS": "1"}
    finally:
        fixed_arithmetic._is_x86_64_v3.cache_clear()


def test_a_process_starts_again_once_with_its_number_arguments_and_streams():
    with subprocess.Popen(
        [sys.executable, "-c", RESTARTED, "one", "two three"],
        env={**os.environ, **OTHERS},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        out, err = process.communicate("what was sent")
    assert out.split() == [str(process.pid), "['one',", "'two", "three']", "False", "None"]
    assert err.split() == ["what", "was", "sent"]


@pytest.mark.slow
def test_a_stage_is_fixed_before_it_loads_numpy(tmp_path):
    """An import of NumPy before the restart is an error here, as there is none where it is looked for first."""
    (tmp_path / "numpy.py").write_text(
        "import os\n"
        "print(os.environ.get('OPENBLAS_CORETYPE'), os.environ['OPENBLAS_NUM_THREADS'], flush=True)\n"
        "os._exit(9)\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    for stage in ("train", "export", "evaluate"):
        result = subprocess.run(
            [sys.executable, "-m", f"pipelines.stages.{stage}"],
            env={**os.environ, **OTHERS, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        expected = fixed_environment({}).get("OPENBLAS_CORETYPE")
        assert (result.returncode, result.stdout.strip()) == (9, f"{expected} 1"), result.stderr
