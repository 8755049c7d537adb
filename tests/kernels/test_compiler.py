"""Which compiler is taken, and what is said where none can be."""

import shutil
import stat
import sys

import pytest

from sacpipe.core.errors import KernelError
from sacpipe.kernels.compiler import find_compiler
from sacpipe.kernels.isa import chosen

SYSTEM = shutil.which("c++")


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch):
    """No compiler but those that a test adds."""
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)


def program(folder, name, text):
    """Write a program and return its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_systems_compiler_is_found():
    compiler = find_compiler(chosen())
    assert compiler.command == (SYSTEM,)
    assert compiler.set_flags == chosen().gcc_flags
    assert "/" not in compiler.label
    assert compiler.version.startswith(compiler.label)


def test_without_a_compiler_the_message_names_package_extra_and_engine(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match="no C\\+\\+ compiler was found") as caught:
        find_compiler(chosen())
    for part in ("g++", "sacpipe[compiler]", "CXX", "name: autograd"):
        assert part in str(caught.value)


def test_an_own_compiler_may_have_arguments(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", f"{SYSTEM} -fno-ident")
    assert find_compiler(chosen()).command == (SYSTEM, "-fno-ident")


@pytest.mark.parametrize(
    ("command", "fault"),
    [("missing-c++", "cannot be run"), ("false", "does not compile C++20"), ("c++ '", "is no command")],
)
def test_an_own_compiler_that_cannot_be_used_is_named_and_not_replaced(monkeypatch, command, fault):
    monkeypatch.setenv("CXX", command)
    with pytest.raises(KernelError) as caught:
        find_compiler(chosen())
    assert "CXX" in str(caught.value)
    assert fault in str(caught.value)


def test_a_compiler_of_an_older_standard_is_not_taken(monkeypatch, tmp_path):
    old = f'case "$*" in *c++20*) echo "unrecognized option" >&2; exit 1;; esac\nexec {SYSTEM} "$@"'
    program(tmp_path, "c++", old)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KernelError, match="the system's c\\+\\+ does not compile C\\+\\+20"):
        find_compiler(chosen())


def test_a_compiler_that_spells_processors_as_zig_gets_zigs_flags(monkeypatch, tmp_path):
    """As `python -m ziglang c++` does: it refuses GCC's names of processors."""
    zig = program(
        tmp_path,
        "zig",
        'for argument in "$@"; do case "$argument" in\n'
        "-march=*) echo unknown CPU >&2; exit 1;;\n"
        f'-mcpu=*) set -- "$@" {" ".join(chosen().gcc_flags)};;\nesac; done\n'
        'for argument in "$@"; do shift; case "$argument" in -mcpu=*) ;; *) set -- "$@" "$argument";; esac; done\n'
        f'exec {SYSTEM} "$@"',
    )
    monkeypatch.setenv("CXX", str(zig))
    assert find_compiler(chosen()).set_flags == chosen().zig_flags


def test_a_fault_of_the_compiler_is_a_line_without_control_characters(monkeypatch, tmp_path):
    broken = f'case "$*" in *-shared*) printf "note\\nx.cpp:1: error: \\033[31mbad\\n" >&2; exit 1;; esac\nexec {SYSTEM} "$@"'
    monkeypatch.setenv("CXX", str(program(tmp_path, "broken", broken)))
    compiler = find_compiler(chosen())
    with pytest.raises(KernelError, match=r"x\.cpp:1: error: \\x1b\[31mbad\. Install") as caught:
        compiler.run(["-shared"], tmp_path)
    assert "\x1b" not in str(caught.value)
