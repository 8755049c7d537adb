"""Retired words stay out of names and prose. The replacement of each is in the failure."""

import re

import pytest
from repository import ROOT
from retired_words import (
    CLASSES,
    PARTS,
    PHRASES,
    WHOLE,
    Fault,
    find_in_identifiers,
    find_in_prose,
)

PYTHON = ("sacpipe", "pipelines", "tests", "benchmarks", "docs")
TABLES = {"tests/architecture/retired_words.py", "tests/architecture/test_words.py"}
"""These two hold the retired words themselves."""
FIRST_DECISION = 12
"""Earlier decisions are history and keep their words, as the changelog does."""
OTHER_FILES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "params.yaml",
    "dvc.yaml",
    "pyproject.toml",
    "Makefile",
    ".ci/run",
    ".pre-commit-config.yaml",
    "docker/serve.Dockerfile",
)


def python_files():
    files = (path for folder in PYTHON for path in (ROOT / folder).rglob("*.py"))
    paths = sorted(path.relative_to(ROOT).as_posix() for path in files)
    return [path for path in paths if path not in TABLES]


def prose_files():
    pages = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").glob("*.md"))]
    decisions = [
        path.relative_to(ROOT).as_posix()
        for path in sorted((ROOT / "docs" / "decisions").glob("*.md"))
        if int(path.name[:4]) >= FIRST_DECISION
    ]
    html = [path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "sacpipe").rglob("*.html"))]
    return [*python_files(), *pages, *decisions, *html, *OTHER_FILES]


def listed(faults):
    """Return faults as lines, in the order of the files."""
    return "\n".join(str(fault) for fault in sorted(faults))


def test_no_file_has_a_retired_name_or_phrase():
    names, phrases, identifiers = [], [], {*python_files()}
    for path in prose_files():
        text = (ROOT / path).read_text()
        names += find_in_identifiers(path, text) if path in identifiers else ()
        phrases += find_in_prose(path, text)
    for kind, faults in (("names", names), ("phrases", phrases)):
        if faults:
            pytest.fail(f"{len(faults)} retired {kind}\n{listed(faults)}", pytrace=False)


@pytest.mark.parametrize("part", PARTS)
def test_each_retired_part_is_found_in_any_spelling(part):
    camel = "".join(word.title() for word in part.split("_"))
    for name in (part, f"_{part}", f"old_{part}", f"{part}_ns", f"{part.upper()}_S", camel, f"{camel}Terms"):
        found = list(find_in_identifiers("tests/any.py", f"{name} = 1\n"))
        assert Fault("tests/any.py", 1, name, PARTS[part]) in found, name


def test_a_part_is_a_whole_word():
    for name in ("halfway", "bordeaux", "warehouse", "filmstrip", "growth", "reasked", "highway_s"):
        assert not list(find_in_identifiers("sacpipe/any.py", f"{name} = 1\n")), name


@pytest.mark.parametrize("name", CLASSES)
def test_each_retired_class_is_found(name):
    assert list(find_in_identifiers("benchmarks/any.py", f"class {name}: ...\n"))


@pytest.mark.parametrize("name", WHOLE)
def test_a_word_that_is_english_is_retired_as_a_whole_name_of_the_product(name):
    assert list(find_in_identifiers("sacpipe/any.py", f"def step({name}): ...\n"))
    assert not list(find_in_identifiers("sacpipe/any.py", f"def {name}_pool(): ...\n")) or name in {
        "most",
        "few",
    }
    assert not list(find_in_identifiers("tests/any.py", f"{name} = 1\n"))


def test_every_kind_of_definition_is_looked_at():
    source = (
        "import json as told\nclass Way: ...\ndef vouch(twin): ...\nasync def hear(): ...\n"
        "self.film = 1\nfor mend in (): ...\nmost_steps: int = 1\n"
    )
    found = {fault.found for fault in find_in_identifiers("sacpipe/any.py", source)}
    assert found == {"told", "Way", "vouch", "twin", "hear", "film", "mend", "most_steps"}


def test_a_name_that_is_only_used_is_its_owners():
    assert not list(find_in_identifiers("sacpipe/any.py", "print(other.grow(1), vouch)\n"))


@pytest.mark.parametrize("name", ["asked", "universe"])
def test_a_retired_name_is_found_in_formats_too(name):
    source = f"class Section:\n    {name}: str\n"
    assert list(find_in_identifiers("sacpipe/rollout/store_state.py", source))
    assert list(find_in_identifiers("sacpipe/envs/any.py", source))


SAMPLES = (
    "Whoever comes first",
    "until somebody clears it",
    "used by nobody else",
    "what lives now lives for ever",
    "every universe",
    "the first that says no",
    "what is on its way",
    "after the way\n    back",
    "who vouches for it",
    "the file that stands there",
    "the pool that lies here",
    "where the pool lies",
    "runs the policy for nothing",
    "comes into service",
    "the gate judges it",
    "plays the same seeded episodes",
    "films one",
    "at its border",
    "is told of every step",
    "the robot's door",
    "goes down one corridor",
    "starts it afresh",
    "is mended by this",
)


@pytest.mark.parametrize("text", SAMPLES)
def test_a_retired_phrase_is_found_in_each_kind_of_prose(text):
    docstring = f'def step():\n    """Do. {text}."""\n'
    comment = "".join(f"# {line}\n" for line in text.split("\n"))
    message = f"raise ValueError({text!r})\n"
    for source in (docstring, comment, message):
        assert list(find_in_prose("sacpipe/any.py", source)), source
    assert list(find_in_prose("docs/any.md", f"# Title\n\n{text}.\n"))
    if "\n" not in text:
        assert list(find_in_prose("params.yaml", f"seed: 1  # {text}\n"))


def test_the_name_of_a_test_is_prose():
    source = "def test_a_stop_holds_until_somebody_clears_it(): ...\n"
    assert [fault.found for fault in find_in_prose("tests/any.py", source)] == ["somebody"]


CLEAN = '''"""A policy behind its guards. A robot that stands still records gaps; AND stands for a logical product.

It waits for nothing. Most steps, and the most recent ones, are given to the recorder; few are dropped.
"""
# Actions lie in [-1, 1]; the start may lie outside the envelope. The key was `universe`, see `vouch.py`. They can be
# told apart.
key = "universe"


def test_most_given_steps_are_asked_for(named, said): ...
'''


def test_plain_english_and_names_in_backticks_pass():
    assert not list(find_in_prose("tests/any.py", CLEAN))
    assert not list(find_in_identifiers("sacpipe/envs/any.py", CLEAN.replace("named, said", "")))
    assert not list(find_in_prose("docs/any.md", "Not `universe`.\n\n```\nuniverse: gymnasium\n```\n"))
    assert not list(find_in_prose("docs/any.md", "[5](decisions/0005-the-conductor-mirrors.md)\n"))


def test_a_fault_names_file_line_word_and_replacement():
    page = "# Title\n\n```\nuniverse\n```\n\nEvery\nuniverse is a family.\n"
    (fault,) = find_in_prose("docs/any.md", page)
    assert str(fault) == "docs/any.md:8: 'universe', use: task suite"


def test_the_glossarys_table_of_retired_words_is_left_out_and_is_complete():
    glossary = (ROOT / "docs" / "glossary.md").read_text()
    assert not list(find_in_prose("docs/glossary.md", glossary))
    retired = glossary.partition("## Retired words")[2]
    words = set(re.findall(r"\w+", retired.lower()))
    for word in (
        "universe",
        "way",
        "named",
        "served",
        "twin",
        "border",
        "whoever",
        "corridor",
        "vouch",
    ):
        assert word in words
        assert (
            word in {*PARTS, *WHOLE}
            or word.title() in CLASSES
            or any(re.fullmatch(phrase, word) for phrase in PHRASES)
        ), word
