"""Updates of many sizes under sanitizers: no access beside an array, no undefined behaviour, no race.

driver.cpp runs them by teams of one to four threads, two callers at a time, and around a fork; each array has
memory of exactly its size.
"""

import subprocess

import numpy as np
import pytest
from compiled import build_driver, gcc_of
from recorded import record_update

from sacpipe.kernels.isa import chosen
from sacpipe.kernels.self_test import CASES, Sizes

pytestmark = pytest.mark.acceptance

ADDRESSES = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
THREADS = ("-O1", "-g", "-fsanitize=thread")
ISAS = sorted({"x86-64-v3", chosen().name})


def drawn_sizes(count, precision="float32"):
    """Sizes at and between the bounds of blocks and panels."""
    draws = np.random.default_rng(1)
    for _ in range(count):
        is_stochastic, is_min = (bool(flag) for flag in draws.integers(0, 2, 2))
        widths = tuple(int(width) for width in draws.integers(1, 71, draws.integers(1, 5)))
        rows, observations, actions, members = (int(draws.integers(1, top)) for top in (41, 71, 41, 5))
        yield Sizes(rows, observations, actions, widths, members, is_stochastic, is_min, precision)


def write_records(folder, isa):
    """Write programs of float32, and of bfloat16 where the set has it; return the files."""
    found = [*drawn_sizes(12), Sizes(1, 1, 1, (1,), 1, True, True), Sizes(8, 16, 16, (32, 16), 2, True, True)]
    found += [
        Sizes(rows, 5, 2, (9, 33), members, True, is_min, num_quantiles=count)
        for rows, members, is_min, count in (
            (1, 1, False, 1),
            (13, 3, True, 16),
            (17, 2, True, 33),
            (32, 5, False, 25),
        )
    ]
    if isa == "avx512-bf16":
        found += drawn_sizes(6, "bfloat16")
        found.append(Sizes(19, 5, 2, (9, 33), 3, True, True, "bfloat16", num_quantiles=25))
    files = []
    for index, sizes in enumerate(found):
        files.append(folder / f"{index}.record")
        files[-1].write_bytes(record_update(sizes)[1].bytes)
    return files


def run(driver, how, files):
    return subprocess.run([driver, how, *files], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", ISAS)
def test_no_access_is_beside_an_array_and_no_behaviour_is_undefined(tmp_path, isa):
    driver, files = build_driver(gcc_of(isa), isa, tmp_path, *ADDRESSES), write_records(tmp_path, isa)
    for how in ("stress", "fork"):
        result = run(driver, how, files)
        assert (result.returncode, result.stderr) == (0, ""), how


def test_threads_do_not_race_and_without_the_waits_they_would(tmp_path):
    driver, files = (
        build_driver(gcc_of("x86-64-v3"), "x86-64-v3", tmp_path, *THREADS),
        write_records(tmp_path, ""),
    )
    for how, some in (("stress", files), ("often", files[-4:])):
        result = run(driver, how, some)
        assert (result.returncode, result.stderr) == (0, ""), how
    racing = tmp_path / "racing.record"
    racing.write_bytes(record_update(CASES[0])[1].encode(has_waits=False))
    assert "ThreadSanitizer: data race" in run(driver, "often", [racing]).stderr
