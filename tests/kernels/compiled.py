"""Compilers beside the one that builds the kernels, and programs and objects that they make of the sources."""

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

from repository import ROOT

from sacpipe.kernels.build import FLAGS
from sacpipe.kernels.isa import find

SOURCES = ROOT / "sacpipe" / "kernels" / "csrc"
ZIG = (str(ROOT / ".compilers" / "bin" / "python"), "-m", "ziglang", "c++")
ARM = "aarch64-linux-gnu"
FLAGS_OF_ALL = tuple(flag for flag in FLAGS if flag != "-shared")


class Compiler(NamedTuple):
    """A compiler of the system or of `.compilers`; `make acceptance` says what is needed."""

    command: tuple[str, ...]
    is_zig: bool = False

    def flags(self, isa):
        """Flags of the kernels' build for an instruction set."""
        found = find(isa)
        return [*FLAGS_OF_ALL, *(found.zig_flags if self.is_zig else found.gcc_flags), f"-D{found.macro}"]

    def run(self, *arguments):
        result = subprocess.run([*self.command, *arguments], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr


def gcc_of(isa):
    """GCC for the set's processors: on another processor, Debian's cross compiler."""
    return Compiler((f"{ARM}-g++" if isa == "neon" else "g++",))


def zig_of(isa):
    target = ("-target", ARM) if isa == "neon" else ()
    return Compiler((*ZIG, *target), is_zig=True)


def disassembler_of(isa):
    """The one of Debian's binutils that knows the set's processors."""
    return f"{ARM}-objdump" if isa == "neon" and shutil.which(f"{ARM}-objdump") else "objdump"


def build_driver(compiler, isa, folder, *flags):
    """Compile driver.cpp and all kernels of a set; return the program."""
    target = folder / f"driver-{isa}"
    sources = [Path(__file__).parent / "driver.cpp", *sorted(SOURCES.glob("*.cpp"))]
    compiler.run(*compiler.flags(isa), *flags, "-o", target, *sources)
    return target
