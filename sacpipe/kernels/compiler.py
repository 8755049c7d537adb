"""The C++ compiler: CXX, else the system's `c++`, else the one in the Python package ziglang."""

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sacpipe.core.errors import KernelError
from sacpipe.core.logging import escape_unprintable
from sacpipe.kernels.isa import InstructionSet

STANDARD = "-std=c++20"
_ADVICE = (
    "Install a C++20 compiler (Debian's package g++), or the one of the extra `compiler` (`pip install "
    "sacpipe[compiler]`), or name one in the environment variable CXX; or use "
    "`engine: {name: autograd, num_threads: 1}`."
)


@dataclass(frozen=True)
class Compiler:
    """A compiler that was seen to accept C++20 and the flags of an instruction set."""

    command: tuple[str, ...]
    version: str
    """What it prints for `--version`: its identity."""
    set_flags: tuple[str, ...]
    """The set's flags, as this compiler spells them."""

    @property
    def label(self) -> str:
        """Name and version in one line, without a path."""
        first = self.version.partition("\n")[0].strip()
        if "ziglang" in self.command:
            return f"ziglang ({first})"
        return first

    def run(self, arguments: Sequence[str], folder: Path) -> None:
        """Run it in a folder, which holds its temporary files too.

        Raises:
            KernelError: it fails.
        """
        try:
            result = _run([*self.command, *arguments], {"TMPDIR": str(folder)}, folder)
        except OSError as exc:
            raise KernelError(f"{self.command[0]} cannot be run ({exc.strerror}). {_ADVICE}") from exc
        if result.returncode:
            raise KernelError(
                f"{self.label} cannot compile the kernels: {_first_fault(result.stderr)}. {_ADVICE}"
            )


def find_compiler(isa: InstructionSet) -> Compiler:
    """Return the first compiler of this machine that can compile for an instruction set.

    Raises:
        KernelError: there is none, or the one that CXX names cannot.
    """
    faults = []
    for name, command in _candidates():
        try:
            version = _run([*command, "--version"]).stdout.strip()
        except OSError as exc:
            faults.append(f"{name} cannot be run ({exc.strerror})")
            continue
        for flags in (isa.gcc_flags, isa.zig_flags):
            if version and _supports(command, flags, isa):
                return Compiler(tuple(command), version, flags)
        faults.append(f"{name} does not compile C++20 for {isa.name}")
    found = "; ".join(faults) or "no C++ compiler was found"
    raise KernelError(f"the native kernels cannot be compiled: {found}. {_ADVICE}")


def _candidates() -> list[tuple[str, list[str]]]:
    """Return names for people, and commands; CXX alone where it is set."""
    own = os.environ.get("CXX", "")
    if own.strip():
        try:
            return [("the compiler of CXX", shlex.split(own))]
        except ValueError as exc:
            raise KernelError(
                f"the environment variable CXX is no command: {exc}. Correct or unset it."
            ) from exc
    found = []
    system = shutil.which("c++")
    if system is not None:
        found.append(("the system's c++", [system]))
    if importlib.util.find_spec("ziglang") is not None:
        found.append(("ziglang", [sys.executable, "-m", "ziglang", "c++"]))
    return found


def _supports(command: Sequence[str], flags: Sequence[str], isa: InstructionSet) -> bool:
    """Preprocess alone, in milliseconds: zig's first compilation builds its C++ library for a minute."""
    needed = f"#if !defined(__cpp_concepts) || !defined({isa.predefined})\n#error missing\n#endif\n"
    return _run([*command, STANDARD, *flags, "-x", "c++", "-E", "-"], text=needed).returncode == 0


def _run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    text: str = "",
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
        input=text,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _first_fault(stderr: str) -> str:
    """Return the first line about an error, else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["it gives no reason"]
    shown = next((line for line in lines if "error" in line), lines[-1])
    return escape_unprintable(shown).rstrip(".")
