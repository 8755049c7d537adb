"""Updates of all float32 kernels leave the same bytes on emulated processors: an older x86-64 and a 64-bit ARM.

A driver without Python runs them; Debian's packages are qemu-user and g++-aarch64-linux-gnu.
"""

import subprocess

import pytest
from compiled import build_driver, gcc_of
from recorded import record_update

from sacpipe.kernels.self_test import CASES

pytestmark = pytest.mark.acceptance

HASWELL = ("qemu-x86_64", "-cpu", "Haswell")  # AVX2 and FMA, no AVX-512
ARM = ("qemu-aarch64",)
RUNS = 3


@pytest.mark.parametrize(
    ("emulator", "isa"), [(HASWELL, "x86-64-v3"), (ARM, "neon")], ids=["Haswell", "64-bit ARM"]
)
def test_the_bytes_of_another_processor_are_the_same(tmp_path, emulator, isa):
    driver = build_driver(gcc_of(isa), isa, tmp_path, "-static")
    for index, sizes in enumerate(CASES):
        update, record = record_update(sizes)
        path = tmp_path / f"{index}.record"
        path.write_bytes(record.bytes)
        for _ in range(RUNS):
            assert update.program.run() == 0
        expected = record.contents()
        for threads in (1, 2, 3):
            command = [*emulator, driver, "run", path, str(threads), str(RUNS)]
            result = subprocess.run(command, capture_output=True, check=False)
            assert result.returncode == 0, result.stderr
            assert result.stdout == expected, (sizes, threads)
