"""Same contract, guards and lineage."""

from dataclasses import replace

import pytest
from bundle_factories import make_runtime, make_spec, term_tree

from sacpipe.release.rules.guards import Guards
from sacpipe.release.rules.lineage import Lineage
from sacpipe.release.rules.same_contract import SameContract
from sacpipe.testing.rule_evidence import given_evidence

SAME, GUARDS, LINEAGE = (
    SameContract(name="same_contract"),
    Guards(name="guards"),
    Lineage(name="lineage"),
)
SPEC = {
    "observation": [term_tree("state", 3)],
    "control_period_s": 0.02,
    "task": "example/Reach-v0",
    "max_episode_steps": 100,
}


def evidence(own, champion, key):
    """Evidence of contracts that differ in one section."""
    given = given_evidence((1.0,), None if champion is None else (1.0,))
    policies = {"candidate": own, "champion": champion}
    found = {}
    for name, value in policies.items():
        policy = getattr(given, name)
        contract = None if policy is None else policy.contract.model_copy(update={key: value})
        found[name] = None if policy is None else replace(policy, contract=contract)
    return replace(given, **found)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, None),
        ({"max_episode_steps": 50}, None),
        ({"task": "example/Push-v0"}, "the task"),
        ({"observation": [term_tree("state", 4)]}, "observation terms"),
        ({"control_period_s": 0.01}, "the control period"),
        ({"control_period_s": None, "task": "a/b"}, "the task, the control period"),
    ],
)
def test_terms_and_period_equal_those_of_the_champion(changes, words):
    finding = SAME.judge(evidence(make_spec(**SPEC | changes), make_spec(**SPEC), "spec"))
    assert finding.ok is (words is None)
    assert finding.found == (
        "terms and control period are the champion's" if words is None else f"differs in {words}"
    )


def test_other_bounds_of_an_action_are_another_contract():
    own, champion = make_spec(3, [(-2.0, 2.0)]), make_spec(3, [(-1.0, 1.0)])
    finding = SAME.judge(evidence(own, champion, "spec"))
    assert "action terms" in finding.found
    assert "release.model_name" in finding.advice


def test_without_a_champion_any_contract_holds():
    assert SAME.judge(given_evidence()).ok


def guard(name, fallback="stop", **keys):
    return {"name": name, "fallback": fallback} | keys


OLD, LATE = "observation_old", "deadline_missed"


@pytest.mark.parametrize(
    ("own", "champion", "words"),
    [
        ({}, {}, None),
        ({"guards": [guard(OLD, max_age_periods=1.0)]}, {}, None),
        (
            {"guards": [guard(OLD, max_age_periods=3.0)]},
            {"guards": [guard(OLD, max_age_periods=2.0)]},
            "observation_old.max_age_periods is 3.0 instead of 2.0",
        ),
        (
            {},
            {"guards": [guard(OLD, max_age_periods=1.0)]},
            "observation_old.max_age_periods is 2.0 instead of 1.0",
        ),
        (
            {"guards": [guard(LATE, "hold", deadline_periods=0.5)]},
            {"guards": [guard(LATE, "last", deadline_periods=0.5)]},
            "deadline_missed.fallback is hold instead of last",
        ),
        ({}, {"guards": [guard("sensor_frozen", max_repeats=5, terms=None)]}, "sensor_frozen is missing"),
        ({"max_last_steps": 4}, {"max_last_steps": 3}, "max_last_steps is 4 instead of 3"),
        ({}, {"watchdog_periods": 2.0}, "watchdog_periods is None instead of 2.0"),
        ({"watchdog_periods": 1.0}, {"watchdog_periods": 2.0}, None),
        (
            {"term_max_age_periods": {"position": 4.0}},
            {"term_max_age_periods": {"position": 3.0}},
            "term_max_age_periods.position is 4.0 instead of 3.0",
        ),
    ],
)
def test_no_guard_is_weaker_than_the_champions(own, champion, words):
    finding = GUARDS.judge(evidence(make_runtime(**own), make_runtime(**champion), "runtime"))
    assert finding.ok is (words is None), finding
    assert finding.found == (words or "no guard is weaker than the champion's")


@pytest.mark.parametrize(
    ("own", "words"),
    [
        ({}, None),
        (
            {"guards": [guard(OLD, max_age_periods=20.0)]},
            "observation_old.max_age_periods is 20.0 instead of 10.0",
        ),
        ({"guards": [guard(LATE, "hold", deadline_periods=0.5)]}, "deadline_missed.fallback is hold"),
        ({"max_last_steps": 25}, None),
        ({"max_last_steps": 26}, "max_last_steps is 26 instead of at most 25"),
        ({"ramp_steps": 1001}, "ramp_steps is 1001 instead of at most 1000"),
        (
            {"term_max_age_periods": {"state": 11.0}},
            "term_max_age_periods.state is 11.0 instead of at most 10",
        ),
    ],
)
def test_a_first_release_has_guards_that_operators_accept(own, words):
    finding = GUARDS.judge(evidence(make_runtime(**own), None, "runtime"))
    assert finding.ok is (words is None)
    assert finding.found == (words or "no guard is weaker than the weakest that operators accept by default")


def test_a_broken_link_is_named_and_the_fourth_is_counted():
    assert LINEAGE.judge(given_evidence()).ok
    finding = LINEAGE.judge(replace(given_evidence(), lineage_faults=("a", "b", "c", "d", "e")))
    assert (finding.ok, finding.found) == (False, "a; b; c; 2 more")
    assert "`sacpipe lineage`" in finding.advice
