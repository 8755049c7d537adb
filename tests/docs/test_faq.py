"""Every answer of docs/faq.md names a key of params.yaml, and every key and metric in it exists."""

import re

import pytest
from factories import make_params
from repository import ROOT

from sacpipe.params.model import Params

SECTIONS = dict(re.findall(r"^## (.+)\n\n((?:(?!## ).*\n)+)", (ROOT / "docs" / "faq.md").read_text(), re.M))
METRICS = (ROOT / "docs" / "metrics.md").read_text()


def paths(tree, prefix=""):
    """Return the paths of all keys of a tree, joined by dots."""
    for key, value in tree.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from paths(value, f"{prefix}{key}.")


@pytest.fixture(scope="module")
def keys():
    automatic = Params.parse(make_params()).as_tree()
    fixed = {**automatic["algorithm"], "temperature": {"mode": "fixed", "value": 0.2}}
    return {*paths(automatic), *paths(Params.parse({**automatic, "algorithm": fixed}).as_tree())}


def test_the_page_has_the_eight_questions():
    assert len(SECTIONS) == 8


@pytest.mark.parametrize("question", SECTIONS)
def test_an_answer_names_keys_that_exist(question, keys):
    named = re.findall(r"`((?:seed|[a-z]+\.[a-z_.]+)\b)(?:: \S+)?`", SECTIONS[question])
    assert named
    assert set(named) <= keys


@pytest.mark.parametrize("question", SECTIONS)
def test_the_metrics_of_an_answer_exist(question):
    for name in re.findall(r"`([a-z]+(?:/[a-z_]+)+)`", SECTIONS[question]):
        assert f"| `{name}` |" in METRICS
