"""The page for users of Softlearning names each of its flags; each row has a command or a reason."""

import re
import shlex

import pytest
from factories import make_params
from repository import ROOT
from softlearning_page import PAGE, commands, is_command, rows, sections, spans

from sacpipe.algorithms import ALGORITHMS
from sacpipe.cli.main import build_parser
from sacpipe.envs import SUITES
from sacpipe.params.model import Params
from sacpipe.replay.samplers import SAMPLERS
from sacpipe.tracking.ledger_values import flattened

FLAGS = (ROOT / "tests" / "docs" / "softlearning_flags.txt").read_text().split()
_, SECTION, _ = re.split(r"^## Flags\n|^## Algorithms", PAGE, flags=re.MULTILINE)
COMMANDS = [command for scripts in sections().values() for one in scripts for command in commands(one)]
TITLES = {title.lower().replace(" ", "-").replace("'", "") for title in sections()}
OWN_WORD = r"\[make (\w+)\]\(environments\.md#\1\)"


def test_every_flag_has_one_row():
    named = [flag for row in rows(SECTION) for flag in re.findall(r"`(--[\w-]+)`", row[0])]
    assert sorted(named) == sorted(FLAGS)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_every_row_has_a_command_or_a_reason(row):
    """A command, a section with some, or a word of the Makefile that tests a suite in an environment of its own.

    A reason begins with `not offered` or `not needed`.
    """
    assert len(row) == 3
    softlearning, here, last = row
    assert not any(is_command(span) for span in [*spans(softlearning), *spans(here)])
    if here.startswith(("not offered", "not needed")):
        assert last == ""
        assert len(here) > 20
    elif link := re.fullmatch(r"\[below\]\(#(.+)\)", last):
        assert link[1] in TITLES
    elif link := re.fullmatch(OWN_WORD, last):
        assert f"make {link[1]}" in (ROOT / "docs" / "environments.md").read_text()
    else:
        assert all(is_command(span) for span in spans(last))
        assert re.fullmatch(r"`[^`]+`(, `[^`]+`)*", last)


def test_every_command_is_where_it_is_run():
    """All are in tables' last columns and in blocks, which tests/acceptance runs."""
    text = re.sub(r"^```\n.*?^```|^\|.+$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert not [span for span in spans(text) if is_command(span)]
    assert PAGE.count("```") == 2 * len(re.findall(r"^```\n(?:.*\n)*?```$", PAGE, re.MULTILINE))


@pytest.mark.parametrize("command", sorted(set(COMMANDS)))
def test_commands_are_accepted(command):
    words = shlex.split(re.sub(r"\$\w+|\$\([^)]*\)", "1", command))
    build_parser().parse_args(words[1:])


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
        (r"--algorithm (\w+)|(sac)pipe params", ALGORITHMS),
        (r"replay\.sampler\.name=(\w+)()", SAMPLERS),
        (r"params (\w+)/()", SUITES),
    ],
    ids=["algorithms", "samplers", "suites"],
)
def test_every_member_of_ours_has_a_command(pattern, table):
    found = {match[1] or match[2] for command in COMMANDS for match in re.finditer(pattern, command)}
    if table is SUITES:
        found |= {*re.findall(OWN_WORD, PAGE)}
    assert found == {*table.ours}
