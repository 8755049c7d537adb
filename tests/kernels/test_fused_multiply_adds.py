"""Compilers fuse no product with a sum: each fused multiply-add of the kernels is one that the sources have.

The sources are compiled with their `fma` and, by unfused.h, without it: then no such instruction is left.
"""

import re
import subprocess
from pathlib import Path

import pytest
from compiled import SOURCES, disassembler_of, gcc_of, zig_of

from sacpipe.kernels.isa import SETS

pytestmark = pytest.mark.acceptance

UNFUSED = Path(__file__).parent / "unfused.h"
INSTRUCTION = re.compile(r"\t(vfn?m(?:add|sub)\w*|fml[as]|fn?m(?:add|sub))\b")
FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
PLAIN = (
    "Pack", "Place", "TdError", "Check", "Lowest", "SquashBack", "Mean", "ValueBack", "TurnInputs", "QuantileMean",
    "TruncatedTarget", "Program", "Team",
)  # fmt: skip
"""Structs of csrc whose functions have sums of products, or none, and no `fma`."""


def fused(folder, compiler, isa, source, *flags):
    """Return the number of fused multiply-adds in every function of a source that has some."""
    target = folder / "kernels.o"
    compiler.run(*compiler.flags(isa), *flags, "-c", SOURCES / source, "-o", target)
    text = subprocess.run(
        [disassembler_of(isa), "-dC", "--no-show-raw-insn", target],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found, function = {}, ""
    for line in text.splitlines():
        if match := FUNCTION.match(line):
            function = match[1]
        elif INSTRUCTION.search(line):
            found[function] = found.get(function, 0) + 1
    return found


@pytest.mark.parametrize("isa", [one.name for one in SETS])
@pytest.mark.parametrize("compiler_of", [gcc_of, zig_of], ids=["gcc", "clang of zig"])
def test_without_the_written_ones_none_is_left(tmp_path, compiler_of, isa):
    compiler = compiler_of(isa)
    for path in sorted(SOURCES.glob("*.cpp")):
        assert fused(tmp_path, compiler, isa, path.name, "-include", UNFUSED) == {}, path.name


@pytest.mark.parametrize("isa", ["x86-64-v3", "neon"])
def test_the_written_ones_are_instructions_of_their_functions_alone(tmp_path, isa):
    """The product has some, and plain C has none."""
    found = {}
    for path in sorted(SOURCES.glob("*.cpp")):
        found |= fused(tmp_path, gcc_of(isa), isa, path.name)
    assert [name for name in found if re.search(rf"\b(enter_)?({'|'.join(PLAIN)})(::|\b)", name)] == []
    assert any(f"{product}<" in name for name in found for product in ("tile", "some_panels", "one_row"))


def test_a_compiler_that_is_allowed_to_fuse_does(tmp_path):
    """So the count finds what it is there for."""
    unfused = ("-include", UNFUSED, "-ffp-contract=fast")
    assert fused(tmp_path, gcc_of("x86-64-v3"), "x86-64-v3", "rows.cpp", *unfused)
