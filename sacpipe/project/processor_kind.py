"""The kind of processor a stage computed on, which decides the last bits of its results.

Libraries choose their kernels by what the processor can do: other instruction sets and another libm add
and round in another order. So `results/kind.yaml`, under git, names the kind beside the stages' results.
A stage writes its own entry when it has computed. The file is no output of DVC, and no output holds its
values: the same bytes from two kinds of processors stay the same bytes.
"""

import io
import os
import platform
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from sacpipe.core.config import Config, read_yaml
from sacpipe.core.errors import ConfigError
from sacpipe.core.files import write_text
from sacpipe.project.stage_key import locked_inputs
from sacpipe.project.workspace import Workspace

_CPUINFO = Path("/proc/cpuinfo")
_X86 = re.compile("avx.*|fma.*|f16c|amx.*")
_X86_64_V3 = {"avx2", "f16c", "fma"}
_ARM = re.compile("asimd.*|neon|fphp|sve.*|sme.*|i8mm|bf16")
_HEADER = "# The kind of processor on which each stage was computed last. `sacpipe verify` reads it.\n"


class ProcessorKind(Config):
    """What the order of additions and roundings depends on, beside code and packages."""

    family: str
    """Maker and family, e.g. `GenuineIntel 6`; on ARM implementer and architecture; else the machine type."""
    model: str
    """Model number, or ARM's part number; empty where the system gives none."""
    name: str
    """Name for people. Not compared, because a cloud gives one model several names."""
    instructions: str
    """Instruction sets for arithmetic, sorted, separated by spaces, e.g. `avx2 avx512f fma`."""
    libm: str
    """C library whose `exp`, `sin` and the like are called, with its version, e.g. `glibc 2.36`."""

    def differences(self, here: "ProcessorKind") -> list[str]:
        """Return what differs from this machine's kind, in words; empty for the same kind."""
        found = [
            f"{field} {getattr(self, field) or 'unknown'} there and {getattr(here, field) or 'unknown'} here"
            for field in ("family", "model", "libm")
            if getattr(self, field) != getattr(here, field)
        ]
        theirs, ours = set(self.instructions.split()), set(here.instructions.split())
        sides = (("there", theirs - ours), ("here", ours - theirs))
        return found + [f"only {side} {' '.join(sorted(names))}" for side, names in sides if names]

    def rounds_like(self, here: "ProcessorKind") -> bool:
        """Return whether what is limited to x86-64-v3 rounds alike on both kinds.

        The C library takes variants of `exp` and `sin` with FMA where there is FMA, and no wider ones.
        """
        both = (self, here)
        return self.libm == here.libm and all({*one.instructions.split()} >= _X86_64_V3 for one in both)

    def text(self) -> str:
        """Return the kind in one line."""
        parts = (self.name, f"{self.family} {self.model}".strip(), self.libm, self.instructions)
        return "; ".join(part for part in parts if part)


class RecordedKind(Config):
    """An entry of results/kind.yaml: the kind, and the run of the stage that it belongs to."""

    stage_key: str
    """Key of the stage when it computed. Where dvc.lock has another one, e.g. because DVC's run-cache gave
    the outputs, the entry says nothing about them."""
    processor: ProcessorKind


@cache
def this_processor() -> ProcessorKind:
    """Return the kind of this machine's processor."""
    try:
        cpuinfo = _CPUINFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        cpuinfo = ""  # not Linux: the machine type is all that is known
    return parse_cpuinfo(cpuinfo, platform.machine(), _libm())


def parse_cpuinfo(cpuinfo: str, machine: str, libm: str) -> ProcessorKind:
    """Return the kind that Linux's /proc/cpuinfo describes.

    Args:
        cpuinfo: The file's text; empty where there is none.
        machine: Type of the machine, e.g. `x86_64`, for what the text leaves out.
        libm: Name and version of the C library.
    """
    values: dict[str, set[str]] = {}
    for line in cpuinfo.splitlines():
        key, colon, value = line.partition(":")
        if colon and value.strip():
            values.setdefault(key.strip(), set()).add(value.strip())

    def all_cores(*keys: str) -> str:
        """Return each key's values; several where the cores differ."""
        return " ".join("+".join(sorted(values[key])) for key in keys if key in values)

    kinds_of_sets = (("flags", _X86), ("Features", _ARM))
    names = {
        name
        for key, pattern in kinds_of_sets
        for line in values.get(key, ())
        for name in line.split()
        if pattern.fullmatch(name)
    }
    return ProcessorKind(
        family=all_cores("vendor_id", "cpu family")
        or all_cores("CPU implementer", "CPU architecture")
        or machine,
        model=all_cores("model") or all_cores("CPU part", "CPU variant"),
        name=all_cores("model name") or machine,
        instructions=" ".join(sorted(names)),
        libm=libm,
    )


def _libm() -> str:
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        name = None
    return name or " ".join(platform.libc_ver()).strip() or f"{platform.system()} {platform.release()}"


def record_kind(workspace: Workspace, stage: str, key: str, kind: ProcessorKind | None = None) -> None:
    """Write a stage's entry in results/kind.yaml, atomically; the other entries stay.

    A file that cannot be read, e.g. with git's conflict markers, is replaced: it must not cost the stage
    its results.

    Args:
        workspace: The project of the stage.
        stage: Name of the stage.
        key: Stage key under which it computed.
        kind: Where it computed; this machine's kind by default.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        known = read_kinds(workspace.kinds)
    except ConfigError:
        known = {}
    entry = RecordedKind(stage_key=key, processor=kind or this_processor())
    if known.get(stage) == entry:
        return
    tree = {name: one.as_tree() for name, one in sorted((known | {stage: entry}).items())}
    yaml, text = YAML(), io.StringIO(_HEADER)
    yaml.width = 10_000  # one line a value: a folded line ends in a space
    text.seek(0, io.SEEK_END)
    yaml.dump(tree, text)
    write_text(workspace.kinds, text.getvalue())


def read_kinds(path: Path) -> dict[str, RecordedKind]:
    """Return the entries of a kind.yaml by stage; none where the file is missing.

    Raises:
        ConfigError: the file is not one that a stage wrote.
    """
    if not path.exists():
        return {}
    try:
        tree = read_yaml(path)
        return {stage: RecordedKind.parse(one, where=stage, source=str(path)) for stage, one in tree.items()}
    except ConfigError as exc:
        fault = str(exc).splitlines()[0].removeprefix(str(path)).lstrip(": ")
        fault = fault.partition(". ")[0]  # what follows is advice for params.yaml
        raise ConfigError(
            f"{path}: expected the kind of processor of each stage, found another file: {fault}. `git "
            f"checkout {path.parent.name}/{path.name}` restores it; where it is missing, the stages write it."
        ) from exc


def recorded_kinds(path: Path, lock: Mapping[str, Mapping[str, Any]]) -> dict[str, ProcessorKind]:
    """Return, by stage, the kinds in a kind.yaml that belong to the runs in a dvc.lock.

    Raises:
        ConfigError: the file is not one that a stage wrote.
    """
    return {
        stage: one.processor
        for stage, one in read_kinds(path).items()
        if stage in lock and locked_inputs(lock[stage]).key == one.stage_key
    }


def other_kinds(kinds: Mapping[str, ProcessorKind], stages: Iterable[str]) -> dict[str, ProcessorKind]:
    """Return the kinds that are not this machine's, in the order of the stages."""
    here = this_processor()
    return {stage: kinds[stage] for stage in stages if stage in kinds and kinds[stage].differences(here)}


def another_processor(other: Mapping[str, ProcessorKind]) -> str:
    """Return, in one line, which stages were computed elsewhere, and how that kind differs from this one."""
    here = this_processor()
    by_kind: dict[str, list[str]] = {}
    for stage, kind in other.items():
        differences = ", ".join(kind.differences(here))
        by_kind.setdefault(f"{kind.name}; this processor is {here.name} ({differences})", []).append(stage)
    return "; ".join(f"{', '.join(stages)} was computed on {text}" for text, stages in by_kind.items())
