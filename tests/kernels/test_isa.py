"""The instruction sets that a processor has, by what Linux says of it."""

import pytest

from sacpipe.core.errors import KernelError
from sacpipe.kernels.isa import SETS, choose, find, this_processor

V3 = "fpu avx avx2 bmi1 bmi2 f16c fma abm movbe xsave"
V4 = f"{V3} avx512f avx512bw avx512cd avx512dq avx512vl"
ARM = "processor\t: 0\nFeatures\t: fp asimd evtstrm\n"


def cpuinfo(*cores):
    return "\n".join(f"processor\t: {place}\nflags\t\t: {flags}\n" for place, flags in enumerate(cores))


@pytest.mark.parametrize(
    ("text", "machine", "expected"),
    [
        (cpuinfo(V3), "x86_64", "x86-64-v3"),
        (cpuinfo(V4), "x86_64", "avx512"),
        (cpuinfo(f"{V4} avx512_bf16"), "x86_64", "avx512-bf16"),
        (cpuinfo(V4.replace("avx512vl", "")), "x86_64", "x86-64-v3"),
        (cpuinfo(f"{V3} avx512_bf16"), "x86_64", "x86-64-v3"),
        (cpuinfo(V4, V3), "x86_64", "x86-64-v3"),  # cores that differ
        (ARM, "aarch64", "neon"),
        ("", "arm64", "neon"),
    ],
)
def test_the_fastest_set_that_every_core_has_is_chosen(text, machine, expected):
    assert choose(text, machine).name == expected


@pytest.mark.parametrize("flag", V3.split()[1:])
def test_a_processor_that_lacks_one_instruction_of_v3_has_no_set(flag):
    lacking = " ".join(name for name in V3.split() if name != flag)
    with pytest.raises(KernelError, match="name: autograd"):
        choose(cpuinfo(lacking), "x86_64")


@pytest.mark.parametrize(("text", "machine"), [("", "x86_64"), ("", "riscv64"), (ARM, "armv7l")])
def test_other_processors_have_no_set(text, machine):
    with pytest.raises(KernelError, match=machine):
        choose(text, machine)


def test_a_lower_set_can_be_forced():
    assert choose(cpuinfo(f"{V4} avx512_bf16"), "x86_64", "x86-64-v3").name == "x86-64-v3"


@pytest.mark.parametrize(
    ("forced", "fault"), [("avx512", "lacks it"), ("neon", "lacks it"), ("sse9", "no such instruction set")]
)
def test_a_set_that_cannot_be_forced_is_refused_with_what_is_possible(forced, fault):
    with pytest.raises(KernelError, match=rf"SACPIPE_NATIVE_ISA={forced}: .*{fault}; .*x86-64-v3"):
        choose(cpuinfo(V3), "x86_64", forced)


def test_an_unknown_name_is_refused_with_every_set():
    with pytest.raises(KernelError, match="avx512-bf16, avx512, x86-64-v3, neon"):
        find("sse9")


def test_this_machines_sets_are_of_the_table():
    assert set(this_processor()) <= set(SETS)
    assert this_processor()
