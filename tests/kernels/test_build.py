"""The kernels are compiled once for the same sources and compiler, by real compilers, and again where damaged."""

import os
import shutil
import subprocess
import sys
from multiprocessing import get_context

import pytest
from repository import ROOT

from sacpipe.core.errors import KernelError
from sacpipe.kernels.build import digest_sources, library_path, plan_build, read_sources
from sacpipe.kernels.cache import is_intact
from sacpipe.kernels.isa import chosen, this_processor

ISA = chosen().name
SOURCE = 'extern "C" __attribute__((visibility("default"))) int answer() { return 42; }\n'


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sacpipe" / "kernels"


@pytest.fixture
def sources(tmp_path):
    """Sources that compile in a moment."""
    folder = tmp_path / "csrc"
    folder.mkdir()
    (folder / "answer.cpp").write_text(SOURCE)
    (folder / "answer.h").write_text("#pragma once\n")
    return folder


def test_a_library_is_built_once_and_leaves_nothing_else(cache, sources):
    path = library_path(ISA, sources)
    first = path.stat()
    assert library_path(ISA, sources) == path
    assert path.stat().st_ino == first.st_ino
    names = {path.name, f"{path.name}.sha256", "build.lock"}
    assert {entry.name for entry in cache.iterdir()} == names
    assert sorted(entry.name for entry in sources.iterdir()) == ["answer.cpp", "answer.h"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:1000]),
        lambda path: path.write_bytes(path.read_bytes() + b"more"),
        lambda path: path.with_name(f"{path.name}.sha256").write_text("0" * 64 + "\n"),
        lambda path: path.with_name(f"{path.name}.sha256").unlink(),
    ],
    ids=["truncated", "longer", "sidecar tampered", "sidecar missing"],
)
def test_a_damaged_library_is_built_again(cache, sources, damage):
    path = library_path(ISA, sources)
    whole, first = path.read_bytes(), path.stat().st_ino
    damage(path)
    assert library_path(ISA, sources) == path
    assert is_intact(path)
    assert path.read_bytes() == whole
    assert path.stat().st_ino != first


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "answer.cpp").write_text(SOURCE.replace("42", "43")),
        lambda folder: (folder / "answer.h").write_text("#pragma once\n\n"),
        lambda folder: (folder / "other.cpp").write_text(""),
        lambda folder: (folder / "answer.h").rename(folder / "answers.h"),
    ],
)
def test_changed_sources_have_another_library(cache, sources, change):
    before = plan_build(ISA, sources).path
    change(sources)
    assert plan_build(ISA, sources).path != before


def test_another_compiler_and_another_set_have_another_library(cache, sources, monkeypatch):
    paths = {plan_build(one.name, sources).path for one in this_processor()}
    assert len(paths) == len(this_processor())
    (sources.parent / "c++").write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "another 1.0" && exit\nexec {shutil.which("c++")} "$@"\n'
    )
    (sources.parent / "c++").chmod(0o700)
    monkeypatch.setenv("CXX", str(sources.parent / "c++"))
    assert plan_build(ISA, sources).path not in paths


def test_a_library_that_was_built_needs_no_compiler(cache, sources, monkeypatch):
    monkeypatch.setenv("CXX", "missing-c++")
    with pytest.raises(KernelError, match="cannot be compiled"):
        library_path(ISA, sources)
    monkeypatch.delenv("CXX")
    path = library_path(ISA, sources)
    monkeypatch.setenv("CXX", "missing-c++")
    assert library_path(ISA, sources) == path
    path.write_bytes(b"damaged")
    with pytest.raises(KernelError, match="cannot be compiled"):
        library_path(ISA, sources)
    (sources / "answer.h").write_text("#pragma once\n\n")
    with pytest.raises(KernelError, match="cannot be compiled"):
        library_path(ISA, sources)


def test_the_digest_is_of_names_and_bytes():
    assert digest_sources({"a.h": b"1", "b.h": b"2"}) == digest_sources({"b.h": b"2", "a.h": b"1"})
    assert digest_sources({"a.h": b"1", "b.h": b"2"}) != digest_sources({"a.h": b"2", "b.h": b"1"})


def test_sources_that_do_not_compile_leave_no_library(cache, sources):
    (sources / "answer.cpp").write_text("int answer() { return no; }\n")
    with pytest.raises(KernelError, match=r"answer\.cpp:1:.*error"):
        library_path(ISA, sources)
    assert [entry.name for entry in cache.iterdir()] == ["build.lock"]


def test_an_unknown_set_is_refused(cache, sources):
    with pytest.raises(KernelError, match="no instruction set 'sse9'"):
        library_path("sse9", sources)


def test_what_a_killed_build_left_is_removed(cache, sources):
    path = plan_build(ISA, sources).path
    (cache / "build").mkdir()
    (cache / "build" / "kernels.so").write_bytes(b"half")
    assert library_path(ISA, sources) == path
    assert not (cache / "build").exists()


def build_in_process(sources, started, results):
    started.wait()
    results.put(str(library_path(ISA, sources)))


@pytest.mark.slow
def test_two_processes_that_build_at_once_compile_once(cache, sources, monkeypatch):
    counted = sources.parent / "c++"
    counted.write_text(
        f'#!/bin/sh\ncase "$*" in *-shared*) echo >> {sources.parent}/count;; esac\nexec {shutil.which("c++")} "$@"\n'
    )
    counted.chmod(0o700)
    monkeypatch.setenv("CXX", str(counted))
    path = plan_build(ISA, sources).path
    context = get_context("spawn")
    started, results = context.Barrier(2), context.Queue()
    both = [context.Process(target=build_in_process, args=(sources, started, results)) for _ in range(2)]
    for process in both:
        process.start()
    assert [results.get(timeout=60) for _ in both] == [str(path)] * 2
    for process in both:
        process.join()
    assert is_intact(path)
    assert (sources.parent / "count").read_text() == "\n"


def run_module(**changes):
    environment = {
        name: value for name, value in os.environ.items() if name not in ("CXX", "SACPIPE_NATIVE_ISA")
    }
    return subprocess.run(
        [sys.executable, "-m", "sacpipe.kernels.build"],
        cwd=ROOT,
        env=environment | changes,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.acceptance
def test_the_command_prints_one_line_without_a_path(cache):
    first, again = run_module(), run_module()
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.startswith(f"Native kernels for {ISA}: built in ")
    assert again.stdout.startswith(f"Native kernels for {ISA}: already built with ")
    assert first.stdout.count("\n") == again.stdout.count("\n") == 1
    assert "/" not in first.stdout


def test_the_command_says_in_one_line_why_it_cannot_build(cache):
    seen = run_module(CXX="missing-c++")
    assert (seen.returncode, seen.stdout, seen.stderr.count("\n")) == (2, "", 1)
    assert "name: autograd" in seen.stderr
    seen = run_module(SACPIPE_NATIVE_ISA="sse9")
    assert (seen.returncode, seen.stdout, seen.stderr.count("\n")) == (2, "", 1)
    assert ISA in seen.stderr


def test_the_sources_are_those_of_the_package():
    assert set(read_sources()) == {
        path.name for path in (ROOT / "sacpipe/kernels/csrc").iterdir() if path.suffix in (".cpp", ".h")
    }
