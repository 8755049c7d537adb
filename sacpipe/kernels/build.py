"""Compiles the kernels into one shared library an instruction set, once for the same sources and compiler.

    python -m sacpipe.kernels.build

builds the library of this processor, and prints one line. docs/kernels.md describes the cache.
"""

import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from sacpipe.core.errors import KernelError, SacpipeError
from sacpipe.core.files import canonical_json, sha256_bytes, storage_errors
from sacpipe.core.locks import hold
from sacpipe.kernels import isa as instruction_sets
from sacpipe.kernels.cache import cache_folder, is_intact, keep
from sacpipe.kernels.compiler import STANDARD, Compiler, find_compiler
from sacpipe.kernels.isa import InstructionSet

FLAGS = (
    STANDARD,
    "-O3",
    "-ffp-contract=off",  # an FMA is where the sources have one: the same bytes from every compiler and set
    "-fno-math-errno",
    "-fno-trapping-math",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fvisibility=hidden",
)
_SOURCES = Path(__file__).parent / "csrc"
_SUFFIXES = frozenset({".cpp", ".h"})


class Plan(NamedTuple):
    """A library, built or not."""

    isa: InstructionSet
    compiler: Compiler | None
    """None where this machine has none, and the library is one that another compiler built before."""
    sources: dict[str, bytes]
    path: Path

    @property
    def is_built(self) -> bool:
        """Whether the library is in the cache and undamaged."""
        return is_intact(self.path)


def read_sources(folder: Path = _SOURCES) -> dict[str, bytes]:
    """Return the C++ files by name, in the order of their names."""
    paths = sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)
    return {path.name: path.read_bytes() for path in paths}


def digest_sources(sources: Mapping[str, bytes]) -> str:
    """Return the SHA-256 of files: of their names and bytes."""
    return sha256_bytes(
        canonical_json([[name, sha256_bytes(sources[name])] for name in sorted(sources)]).encode()
    )


def plan_build(isa: str, folder: Path = _SOURCES) -> Plan:
    """Return which library belongs to an instruction set, the compiler of this machine, and the sources.

    Without a compiler it is the newest that was built of these sources, as in an image whose compiler was
    removed: every compiler makes the same bytes.

    Raises:
        KernelError: the set is missing; or a compiler, and no library is built; or the cache is refused.
    """
    wanted = instruction_sets.find(isa)
    sources = read_sources(folder)
    cache = cache_folder()
    name = f"{isa}-{_digest([digest_sources(sources), FLAGS, wanted.macro])}"
    try:
        compiler = find_compiler(wanted)
    except KernelError:
        built = [path for path in cache.glob(f"{name}-*.so") if is_intact(path)]
        if not built:
            raise
        return Plan(wanted, None, sources, max(built, key=lambda path: path.stat().st_mtime_ns))
    by = _digest([compiler.version, compiler.command[1:], compiler.set_flags])
    return Plan(wanted, compiler, sources, cache / f"{name}-{by}.so")


def _digest(known: object) -> str:
    return sha256_bytes(canonical_json(known).encode())[:32]


def library_path(isa: str, folder: Path = _SOURCES) -> Path:
    """Return the library of an instruction set, built where it is missing or damaged.

    Args:
        isa: Name of the set.
        folder: Of the sources.

    Raises:
        KernelError: see `plan_build`; or it does not compile.
        StorageError: the cache cannot be written.
    """
    return build(plan_build(isa, folder))


def build(plan: Plan) -> Path:
    """Build a library where it is missing or damaged, after any other process that builds; return its path.

    Raises:
        KernelError: it does not compile.
        StorageError: the cache cannot be written.
    """
    if plan.is_built:
        return plan.path
    with hold(plan.path.with_name("build.lock")):
        if not plan.is_built:
            with storage_errors(plan.path.parent):
                _compile(plan)
    return plan.path


def _compile(plan: Plan) -> None:
    """Compile copies of the sources: the bytes whose digest is in the library's name."""
    # The lock is held: a build that was killed leaves this one folder, and the next build removes it.
    work = plan.path.with_name("build")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        for name, data in plan.sources.items():
            (work / name).write_bytes(data)
        files = [name for name in plan.sources if name.endswith(".cpp")]
        compiler = plan.compiler or find_compiler(plan.isa)
        flags = [*FLAGS, *compiler.set_flags, f"-D{plan.isa.macro}"]
        compiler.run([*flags, "-o", "kernels.so", *files], work)
        keep(work / "kernels.so", plan.path)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> int:
    """Build the library of this processor; exit code 2 where it cannot be built."""
    started = time.monotonic()
    try:
        plan = plan_build(instruction_sets.chosen().name)
        was_built = plan.is_built
        build(plan)
    except SacpipeError as exc:
        sys.stderr.write(f"The native engine cannot be used here: {exc}\n")
        return exc.exit_code
    done = "already built" if was_built else f"built in {time.monotonic() - started:.1f} s"
    by = f" with {plan.compiler.label}" if plan.compiler else ""
    sys.stdout.write(f"Native kernels for {plan.isa.name}: {done}{by}.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
