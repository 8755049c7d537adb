"""The library loads, measures and computes the same bits with every instruction set of this processor."""

import re
import subprocess
import sys

import pytest
from recorded import RecordedProgram
from repository import ROOT

from sacpipe.core.errors import KernelError
from sacpipe.kernels import self_test
from sacpipe.kernels.build import plan_build
from sacpipe.kernels.isa import SETS, this_processor
from sacpipe.kernels.library import chosen_isa, load, source_digest
from sacpipe.kernels.peak import Peak, measure_peak
from sacpipe.kernels.program import signatures

pytestmark = pytest.mark.slow  # the first of them compiles


def test_it_is_loaded_once_a_process():
    assert load() is load(chosen_isa())


@pytest.mark.parametrize("isa", [one.name for one in this_processor()])
def test_every_set_computes_the_same_bits(isa):
    assert self_test.compute_digest(isa) == self_test.EXPECTED_SHA256
    assert self_test.run(isa).startswith("computes the bits expected")


def test_the_self_test_has_every_kernel_of_float32():
    programs = [RecordedProgram() for _ in self_test.CASES]
    for sizes, program in zip(self_test.CASES, programs, strict=True):
        self_test.TestedUpdate(sizes, program)
    used = {kernel for program in programs for kernel, _, _ in program.calls}
    assert used == {kernel for kernel in signatures() if not kernel.endswith("_bf16")}


def test_other_bits_are_refused(monkeypatch):
    monkeypatch.setattr(self_test, "EXPECTED_SHA256", "0" * 64)
    with pytest.raises(KernelError, match="expected 000000000000"):
        self_test.run()


def test_the_peak_is_that_of_a_processor():
    """Of one core: more than one scalar multiply-add a cycle, less than four of 512 bits."""
    peak = measure_peak(0.02)
    assert 2 < peak.float32 < 1000
    assert bool(peak.bfloat16) == (chosen_isa() == "avx512-bf16")
    assert re.fullmatch(r"FMA peak \d+ GF/s a core(, \d+ in bfloat16)?", str(peak))
    assert str(Peak(100.4, 0.0)) == "FMA peak 100 GF/s a core"


def test_a_set_that_the_processor_lacks_is_not_loaded():
    lacking = next(one.name for one in SETS if one not in this_processor())
    with pytest.raises(KernelError, match=f"lacks the instruction set '{lacking}'"):
        load(lacking)


def test_a_set_can_be_forced(monkeypatch):
    last = this_processor()[-1].name
    monkeypatch.setenv("SACPIPE_NATIVE_ISA", last)
    assert chosen_isa() == last
    monkeypatch.setenv("SACPIPE_NATIVE_ISA", "sse9")
    with pytest.raises(KernelError, match="no such instruction set"):
        load()


def test_a_library_that_is_none_is_refused(tmp_path, monkeypatch):
    """Its digest is right, so it was built: by a compiler that writes nonsense."""
    nonsense = tmp_path / "c++"
    nonsense.write_text(
        '#!/bin/sh\ncase "$*" in *-shared*) echo nonsense > kernels.so;; *) exec c++ "$@";; esac\n'
    )
    nonsense.chmod(0o700)
    monkeypatch.setenv("CXX", str(nonsense))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = "from sacpipe.kernels.library import load\nload()"
    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "cannot be loaded" in seen.stderr
    assert "KernelError" in seen.stderr


def test_the_digest_is_one_of_the_sources():
    assert re.fullmatch("[0-9a-f]{64}", source_digest())
    assert plan_build(chosen_isa()).sources


def test_the_package_loads_no_torch():
    code = "import sys\nimport sacpipe.kernels.self_test, sacpipe.kernels.peak\nprint('torch' in sys.modules)"
    seen = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert seen.stdout == "False\n"
