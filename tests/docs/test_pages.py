"""Pages name files that exist, link to pages that exist, and are all in the index."""

import re

import pytest
from repository import ROOT

from sacpipe.algorithms import ALGORITHMS

DOCS = ROOT / "docs"
PAGES = sorted(
    [*DOCS.glob("*.md"), *DOCS.glob("decisions/*.md"), ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md"]
)
KEPT_TRUE = ("architecture.md", "glossary.md", "index.md")
"""Pages about the tree as it is: every path in them exists."""


def links(page):
    """Return the relative targets of a page's links and pictures, without their anchors."""
    targets = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    return {target.partition("#")[0] for target in targets if "://" not in target} - {""}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    for target in links(page):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("name", KEPT_TRUE)
def test_paths_that_a_page_names_exist(name):
    for path in re.findall(r"`((?:sacpipe|pipelines|tests|docs)/[\w/.-]+)`", (DOCS / name).read_text()):
        assert (ROOT / path).exists(), path


def test_every_page_is_in_the_index():
    pages = {page.relative_to(DOCS).as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    assert pages - links(DOCS / "index.md") == {"index.md"}


def test_words_of_the_glossary_are_defined_once():
    definitions = (DOCS / "glossary.md").read_text().partition("## Retired words")[0]
    words = re.findall(r"^\| (?!word |-)([^|]+) \|", definitions, re.MULTILINE)
    assert len(words) > 50
    assert len(words) == len(set(words))


def test_the_page_of_training_lists_every_algorithm():
    page = (DOCS / "training.md").read_text()
    assert [name for name in ALGORITHMS.ours if f"| `{name}` |" not in page] == []
