"""The kind of processor: what is read of it, when two are the same, and the file that names it beside the results."""

import os
import re

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.project.processor_kind import (
    another_processor,
    other_kinds,
    parse_cpuinfo,
    read_kinds,
    record_kind,
    recorded_kinds,
    this_processor,
)
from sacpipe.project.stage_key import StageInputs
from sacpipe.project.workspace import Workspace

INTEL = """\
processor\t: {0}
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 143
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
cpu MHz\t\t: {0}2700.000
flags\t\t: fpu sse2 fma avx avx2 smep bmi1 avx512f avx512_bf16 amx_tile f16c
"""
ARM = """\
processor\t: {0}
BogoMIPS\t: 50.00
Features\t: fp asimd evtstrm aes fphp asimdhp cpuid asimddp sve i8mm bf16 sb
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x1
CPU part\t: {1}
"""


def kind(**changes):
    return parse_cpuinfo(INTEL.format(0), "x86_64", "glibc 2.36").replace(**changes)


def test_family_model_and_instruction_sets_for_arithmetic_are_read():
    intel = parse_cpuinfo(INTEL.format(0) + "\n" + INTEL.format(1), "x86_64", "glibc 2.36")
    assert intel.as_tree() == {
        "family": "GenuineIntel 6",
        "model": "143",
        "name": "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz",
        "instructions": "amx_tile avx avx2 avx512_bf16 avx512f f16c fma",
        "libm": "glibc 2.36",
    }
    arm = parse_cpuinfo(ARM.format(0, "0xd40"), "aarch64", "glibc 2.36")
    assert (arm.family, arm.model, arm.name) == ("0x41 8", "0xd40 0x1", "aarch64")
    assert arm.instructions == "asimd asimddp asimdhp bf16 fphp i8mm sve"


def test_cores_of_two_models_are_one_kind_of_their_own():
    mixed = parse_cpuinfo(ARM.format(0, "0xd05") + "\n" + ARM.format(1, "0xd0a"), "aarch64", "glibc 2.36")
    assert mixed.model == "0xd05+0xd0a 0x1"


def test_without_a_description_the_machine_type_is_the_kind():
    other = parse_cpuinfo("", "arm64", "Darwin 24.0")
    assert (other.family, other.model, other.instructions) == ("arm64", "", "")
    assert other.text() == "arm64; arm64; Darwin 24.0"


def test_this_machine_has_a_kind():
    here = this_processor()
    assert here.family
    assert here.libm == os.confstr("CS_GNU_LIBC_VERSION")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"family": "AuthenticAMD 25"}, "family AuthenticAMD 25 there and GenuineIntel 6 here"),
        ({"model": ""}, "model unknown there and 143 here"),
        ({"libm": "glibc 2.31"}, "libm glibc 2.31 there and glibc 2.36 here"),
        ({"instructions": "avx avx2 fma f16c amx_tile avx512_bf16 avx512f sve"}, "only there sve"),
        ({"instructions": "avx avx2 fma f16c amx_tile"}, "only here avx512_bf16 avx512f"),
    ],
)
def test_each_part_that_decides_arithmetic_makes_another_kind(change, difference):
    assert kind(**change).differences(kind()) == [difference]


def test_a_name_makes_no_other_kind():
    assert kind(name="Intel(R) Xeon(R) @ 2.00GHz").differences(kind()) == []


def lock(**values):
    """Return entries of a dvc.lock and the stage keys of each."""
    entries = {
        stage: {"cmd": stage, "params": {"params.yaml": {"seed": seed}}} for stage, seed in values.items()
    }
    keys = {
        stage: StageInputs(stage, {}, {"params.yaml": {"seed": seed}}).key for stage, seed in values.items()
    }
    return entries, keys


def test_each_stage_writes_its_own_entry(tmp_path):
    workspace, (entries, keys) = Workspace(tmp_path), lock(train=1, export=1)
    assert recorded_kinds(workspace.kinds, entries) == {}
    record_kind(workspace, "train", keys["train"], kind())
    record_kind(workspace, "export", keys["export"])
    assert recorded_kinds(workspace.kinds, entries) == {"train": kind(), "export": this_processor()}
    text = workspace.kinds.read_text()
    assert not re.search(r"[ \t]$", text, re.MULTILINE)
    assert [path.name for path in workspace.results.iterdir()] == ["kind.yaml"]
    record_kind(workspace, "export", keys["export"])
    assert workspace.kinds.read_text() == text
    later, _ = lock(train=2, export=1)
    assert recorded_kinds(workspace.kinds, later) == {"export": this_processor()}


def test_a_file_that_cannot_be_read_is_refused_before_work_and_costs_no_stage_its_results(tmp_path):
    workspace, (entries, keys) = Workspace(tmp_path), lock(train=1)
    workspace.results.mkdir()
    for text in ("<<<<<<< HEAD\ntrain:\n", "train: {}\n", "[]\n", "train:\n  stage_key: 7\n"):
        workspace.kinds.write_text(text)
        with pytest.raises(
            ConfigError, match=r"kind\.yaml: expected the kind .*git checkout results/kind\.yaml"
        ):
            read_kinds(workspace.kinds)
    record_kind(workspace, "train", keys["train"])
    assert recorded_kinds(workspace.kinds, entries) == {"train": this_processor()}


def test_stages_of_another_kind_are_named_once_for_each_kind():
    here = this_processor()
    one, two = here.replace(model="98", name="One"), here.replace(model="99", name="Two")
    other = other_kinds({"evaluate": two, "train": one, "export": one}, ("train", "export", "evaluate"))
    assert list(other) == ["train", "export", "evaluate"]
    assert another_processor(other) == (
        f"train, export was computed on One; this processor is {here.name} (model 98 there and {here.model} here); "
        f"evaluate was computed on Two; this processor is {here.name} (model 99 there and {here.model} here)"
    )
    assert other_kinds({"train": here.replace(name="The same kind")}, ("train",)) == {}
