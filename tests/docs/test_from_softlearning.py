"""The page for users of Softlearning names each of its flags, and its commands and keys exist."""

import re

import pytest
from factories import make_params
from repository import ROOT

from sacpipe.algorithms import ALGORITHMS
from sacpipe.cli.main import build_parser
from sacpipe.envs import SUITES
from sacpipe.params.model import Params
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.tracking.ledger_values import flattened

PAGE = (ROOT / "docs" / "from-softlearning.md").read_text()
FLAGS = (ROOT / "tests" / "docs" / "softlearning_flags.txt").read_text().split()
_, SECTION, _ = re.split(r"^## Flags\n|^## Algorithms", PAGE, flags=re.MULTILINE)
ROWS = re.findall(r"^\| (.+) \| (.+) \|$", SECTION, re.MULTILINE)[1:]
COMMANDS = sorted(
    {*re.findall(r"`(sacpipe [^`]+)`", PAGE), *re.findall(r"^(sacpipe .+)$", PAGE, re.MULTILINE)}
)


def test_every_flag_has_one_row_with_an_answer():
    named = [flag for row in ROWS for flag in re.findall(r"`(--[\w-]+)`", row[0])]
    assert sorted(named) == sorted(FLAGS)
    assert all(re.search("`|not offered|always|project", answer) for _, answer in ROWS)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_are_accepted(command):
    """Those of README's tour are run by its test, and the others with their `--help`'s examples."""
    build_parser().parse_args(command.replace("TASK", "gymnasium/HalfCheetah-v5").split()[1:])


def test_keys_of_params_exist():
    """Keys of an algorithm are those of all of ours."""
    tree = Params.parse(make_params()).as_tree()
    for name in ALGORITHMS.ours:
        tree["algorithm"] = ALGORITHMS.find(name).example().as_tree() | tree["algorithm"]
    keys = flattened(tree)
    named = re.findall(r"`((?:algorithm|training|evaluation|release|replay|task)\.[a-z_.]+)", PAGE)
    assert len(named) > 10
    for path in named:
        assert any(key == path or key.startswith(f"{path}.") for key in keys), path


@pytest.mark.parametrize(
    ("pattern", "table"),
    [
        (r"`algorithm\.name: (\w+)", ALGORITHMS),
        (r"`replay\.sampler\.name: (\w+)", SAMPLERS),
        (r"\bsuite `(\w+)`", SUITES),
    ],
    ids=["algorithms", "samplers", "suites"],
)
def test_members_exist(pattern, table):
    named = {*re.findall(pattern, PAGE)}
    assert named
    assert named <= {*table.ours}
