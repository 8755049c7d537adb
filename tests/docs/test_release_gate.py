"""What docs/release-gate.md shows: its rule keeps the contract, its tables are those of the code."""

import importlib
import re
import sys

import pytest
from repository import ROOT
from ruamel.yaml import YAML

from sacpipe.release.config import ReleaseConfig
from sacpipe.release.rules.rule import RULES
from sacpipe.release.verdict import Finding, Verdict
from sacpipe.testing.rules import check_rule

PAGE = (ROOT / "docs" / "release-gate.md").read_text()
YAMLS = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def own_rule(tmp_path, monkeypatch):
    (source,) = re.findall(r"^```python\n(# my_rules.py\n.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "my_rules.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("my_rules").NoFall
    del sys.modules["my_rules"]


def test_the_shown_rule_keeps_the_contract_and_is_a_line_of_the_section(own_rule):
    check_rule(own_rule)
    shown = YAML(typ="safe").load(YAMLS[1])
    section = {"model_name": "pole", "mode": "enforce", "auto": False, "rules": shown["rules"]}
    (rule,) = ReleaseConfig.parse(section).rules
    assert (type(rule), rule.min_return) == (own_rule, 900.0)


def test_the_shown_section_is_valid():
    section = YAML(typ="safe").load(YAMLS[0])["release"]
    assert [rule.name for rule in ReleaseConfig.parse(section).rules] == ["floor", "parity"]


def part(heading):
    """Return what is below a heading."""
    return PAGE.partition(f"\n{heading}\n")[2].partition("\n## ")[0]


def rows(heading):
    """Return the names in the first cells of the tables below a heading."""
    cells = re.findall(r"^\| (`.*?) \|", part(heading), re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


def test_every_rule_and_every_key_is_listed():
    assert rows("## Rules") == list(RULES.ours)
    assert rows("## The section") == list(ReleaseConfig.model_fields)
    assert set(rows("## The verdict")) == Verdict.model_fields.keys() | Finding.model_fields.keys()


def test_the_keys_of_each_rule_are_named():
    shared = {"name", "episodes", "min_return", "max_loss"}
    for name in RULES.ours:
        (line,) = [line for line in part("## Rules").splitlines() if line.startswith(f"| `{name}` |")]
        for key in RULES.find(name).model_fields.keys() - shared:
            assert f"`{key}`" in line, (name, key)
