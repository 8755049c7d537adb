"""Lives of 100 release commands, each from a seed, in a world that fails at any operation (decision 0025)."""

import os
import re
import subprocess
import sys

import pytest
from repository import ROOT
from simulated.life import live
from simulated.planted import MISTAKES

SEEDS_PER_TEST = 20


def faults(first):
    found = (live(seed)[1] for seed in range(first, first + SEEDS_PER_TEST))
    return "\n".join(filter(None, found))


def simulate(*arguments, hash_seed="0"):
    """Run lives in an interpreter of their own; return the last lines that it prints."""
    variables = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'release'}",
        "PYTHONHASHSEED": hash_seed,
    }
    command = [sys.executable, "-m", "simulated", *map(str, arguments)]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, SEEDS_PER_TEST))
def test_no_life_breaks_an_invariant(first):
    assert faults(first) == ""


@pytest.mark.acceptance
@pytest.mark.parametrize("first", range(40, 1000, SEEDS_PER_TEST))
def test_no_life_of_a_thousand_seeds_breaks_an_invariant(first):
    assert faults(first) == ""


@pytest.mark.slow
def test_a_seed_gives_the_same_operations_in_every_interpreter():
    first, second = (simulate(4, hash_seed=hash_seed) for hash_seed in ("1", "2"))
    assert first.returncode == second.returncode == 0
    assert re.search(r"seed 4: \d+ steps, digest [0-9a-f]{64}$", first.stdout.strip())
    assert first.stdout == second.stdout


@pytest.mark.slow
def test_a_failing_seed_replays_to_the_same_step():
    name = "a record is written in place"
    found = simulate(0, 300, "--mistake", name)
    fault, command = found.stdout.strip().splitlines()
    seed, step = map(int, re.match(r"seed (\d+), step (\d+): ", fault).groups())
    assert command.strip() == f"PYTHONPATH=.:tests/release python -m simulated {seed}"
    *operations, again, _ = simulate(seed, "--mistake", name).stdout.strip().splitlines()
    assert again == fault
    assert int(operations[-1].split()[0]) == step == len(operations)


def test_at_least_twenty_mistakes_are_planted():
    assert len(MISTAKES) >= 20
    for name, mistake in MISTAKES.items():
        source = (ROOT / "sacpipe" / "release" / f"{mistake.module}.py").read_text()
        assert source.count(mistake.right) == 1, name


@pytest.mark.acceptance
@pytest.mark.parametrize("name", MISTAKES)
def test_a_planted_mistake_is_found_within_300_seeds(name):
    found = simulate(0, 300, "--mistake", name)
    assert (found.returncode, found.stderr) == (1, ""), found.stdout
    assert re.match(r"seed \d+, step \d+: ", found.stdout)
