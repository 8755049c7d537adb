"""What the doctor says about the native engine, with a compiler, without one, and before anything is built."""

import re

import pytest

from sacpipe.cli.doctor import CHECKS, examine
from sacpipe.kernels.build import build, plan_build
from sacpipe.kernels.isa import chosen

ROWS = ("processor", "compiler", "kernels", "self-test")


def rows():
    return {check.name: examine(check) for check in CHECKS if check.name in ROWS}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "sacpipe" / "kernels"


def test_nothing_is_built_by_looking(cache):
    seen = rows()
    assert all(row.ok and not row.needed for row in seen.values())
    assert re.search(r" model .*; instruction sets .*; load average \d+\.\d$", seen["processor"].found)
    assert seen["compiler"].found
    assert seen["kernels"].found.startswith(f"{chosen().name}, not built yet")
    assert seen["self-test"].found.startswith("not run")
    assert not list(cache.iterdir())


@pytest.mark.slow
def test_built_kernels_are_measured_and_tested():
    build(plan_build(chosen().name))
    seen = rows()
    assert re.match(rf"{chosen().name}, built; FMA peak \d+ GF/s a core", seen["kernels"].found)
    assert seen["self-test"].found.startswith("computes the bits expected")


@pytest.mark.slow
def test_built_kernels_need_no_compiler(monkeypatch):
    build(plan_build(chosen().name))
    monkeypatch.setenv("CXX", "missing-c++")
    seen = rows()
    assert all(row.ok for row in seen.values())
    assert seen["compiler"].found.startswith("none; ")
    assert seen["self-test"].found.startswith("computes the bits expected")


def test_a_missing_compiler_is_explained_once_and_fails_nothing(monkeypatch):
    monkeypatch.setenv("CXX", "missing-c++")
    seen = rows()
    assert [name for name, row in seen.items() if row.ok] == ["processor"]
    assert not any(row.needed for row in seen.values())
    assert "package g++" in seen["compiler"].advice
    assert seen["kernels"].advice == seen["self-test"].advice == "see `compiler`."


def test_a_refused_cache_is_explained(cache):
    cache.mkdir(parents=True, mode=0o700)
    cache.chmod(0o777)
    cache.parent.chmod(0o700)
    seen = rows()
    assert seen["compiler"].ok
    assert "chmod 700" in seen["kernels"].advice
