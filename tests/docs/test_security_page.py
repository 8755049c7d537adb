"""Every promise of docs/robot-security.md has a test, and every test that it names exists."""

import ast
import re

from repository import ROOT

PAGE = (ROOT / "docs" / "robot-security.md").read_text()
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::([\w:]+)(?:\[([^]`]+)\])?`")


def names(path):
    """Return the tests of a file: functions, and methods behind their class."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found.update(
                f"{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)
            )
    return found


def test_every_test_that_is_named_exists():
    references = REFERENCE.findall(PAGE)
    assert len(references) > 30
    assert PAGE.count("::") - PAGE.count("file::test") == sum(
        name.count("::") + 1 for _, name, _ in references
    )
    for path, name, _ in references:
        assert name in names(path), f"{path}::{name}"


def test_every_kind_that_is_named_is_in_a_table():
    tables = "".join(path.read_text() for path in (ROOT / "tests" / "attack").glob("*.py"))
    for _, _, kind in REFERENCE.findall(PAGE):
        assert not kind or f'"{kind}"' in tables, kind


def test_every_promise_names_a_test():
    promises = PAGE.partition("## Promises")[2].partition("## Not defended")[0]
    rows = [line for line in promises.splitlines() if re.match(r"\| (?!promise|---)", line)]
    assert len(rows) > 25
    for row in rows:
        assert REFERENCE.search(row), row
