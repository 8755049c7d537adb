"""Every answer of docs/faq.md names a key of params.yaml, and every key and metric in it exists."""

import re

import pytest
from factories import make_params
from repository import ROOT

from sacpipe.params.model import Params
from sacpipe.tracking.ledger_values import flattened

SECTIONS = dict(re.findall(r"^## (.+)\n\n((?:(?!## ).*\n)+)", (ROOT / "docs" / "faq.md").read_text(), re.M))
METRICS = (ROOT / "docs" / "metrics.md").read_text()


@pytest.fixture(scope="module")
def keys():
    automatic = Params.parse(make_params()).as_tree()
    fixed = {**automatic["algorithm"], "temperature": {"mode": "fixed", "value": 0.2}}
    return flattened(automatic) | flattened(Params.parse({**automatic, "algorithm": fixed}).as_tree())


def test_the_page_has_the_eight_questions():
    assert len(SECTIONS) == 8


@pytest.mark.parametrize("question", SECTIONS)
def test_an_answer_names_keys_that_exist(question, keys):
    named = re.findall(r"`((?:seed|[a-z]+\.[a-z_.]+)\b)(?:: \S+)?`", SECTIONS[question])
    assert named
    assert set(named) <= keys.keys()


def test_the_metrics_of_the_answers_exist():
    named = re.findall(r"`([a-z]+(?:/[a-z_]+)+)`", "".join(SECTIONS.values()))
    assert len(named) > 5
    for name in named:
        assert f"| `{name}` |" in METRICS
