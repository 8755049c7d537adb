"""One table of metrics: what learners log, what stages write and what people compare is declared, and printed once."""

import importlib.util
import json
from functools import cache

import pytest
from factories import make_spec
from repository import ROOT
from ruamel.yaml import YAML

from sacpipe.algorithms import ALGORITHMS, metrics_of
from sacpipe.specs.metric import Metric, pattern_of
from sacpipe.tracking.ledger_values import numbers_in


def _load_generator():
    spec = importlib.util.spec_from_file_location("metrics_page", ROOT / "docs" / "metrics.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


generator = _load_generator()


@cache
def graph():
    return YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]


def test_the_committed_page_is_what_the_generator_writes():
    page = generator.PAGE.read_text()
    assert page == generator.written(page), "out of date: run `python docs/metrics.py`"


def test_a_page_without_a_table_is_refused():
    page = generator.PAGE.read_text()
    with pytest.raises(ValueError, match="expected the tables rows, sac"):
        generator.written(page.replace("<!-- metrics of td3 -->", ""))


@pytest.mark.parametrize("name", ALGORITHMS.ours)
def test_a_learner_logs_what_its_section_declares(name):
    learner = ALGORITHMS.find(name).example().build(make_spec(), 0)
    assert learner.metrics() == metrics_of(name) != {}
    assert all(isinstance(metric, Metric) and all(metric[:2]) for metric in metrics_of(name).values())


@pytest.mark.parametrize("stage", generator.STAGES)
def test_numbers_that_git_keeps_and_dvc_compares_are_declared(stage):
    """results/, by the names in metrics.json."""
    (path,) = (path for item in graph()[stage]["metrics"] for path in item)
    names = {name.replace("kept_", "kept/") for name in numbers_in(json.loads((ROOT / path).read_text()))}
    assert names <= generator.declared(generator.STAGES[stage]).keys()
    assert names


def test_every_number_of_a_policy_has_a_meaning():
    for stage, model in generator.STAGES.items():
        table = generator.declared(model)
        assert all(metric.unit and metric.meaning for metric in table.values()), stage
    assert generator.declared(generator.STAGES["evaluate"])["bundle/task_metrics/{name}/last"].unit == "own"


def test_a_logged_name_is_found_by_its_pattern():
    assert pattern_of("critic/1/loss") in metrics_of("sac")
    assert pattern_of("critic/loss") == "critic/loss"
    assert metrics_of("their_package:Quantiles") == {}
