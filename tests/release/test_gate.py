"""The release gate: each rule is tested on both sides of its bound."""

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.release.gate import Candidate, ReleaseConfig, evaluate_release


def make(**changes):
    numbers = {
        "bundle_return_mean": 9_300.0,
        "bundle_episodes": 20,
        "parity_max_error": 1e-6,
        "parity_tolerance": 1e-5,
    }
    return Candidate.parse(numbers | changes)


def config(floor=9_300.0, name="pole"):
    return ReleaseConfig.parse({"model_name": name, "min_return_mean": floor})


@pytest.mark.parametrize(
    ("changes", "floor", "accepted"),
    [
        ({}, 9_300.0, True),
        ({"bundle_return_mean": 9_299.99}, 9_300.0, False),
        ({"bundle_return_mean": -1e9}, None, True),
        ({"parity_max_error": 1e-5}, 9_300.0, True),
        ({"parity_max_error": 1.1e-5}, 9_300.0, False),
        ({"parity_max_error": 1.1e-5}, None, False),
    ],
)
def test_every_rule_must_hold(changes, floor, accepted):
    verdict = evaluate_release(make(**changes), config(floor))
    assert verdict.accepted is accepted
    assert verdict.accepted is all(reason.ok for reason in verdict.reasons)


def test_a_refusal_has_the_expected_and_the_found_value():
    verdict = evaluate_release(make(bundle_return_mean=12.5), config())
    assert [(r.rule, r.expected, r.found) for r in verdict.reasons if not r.ok] == [
        ("minimum return", "mean return of at least 9300", "12.50 over 20 episodes")
    ]


def test_numbers_that_are_not_finite_are_refused():
    for name in ("bundle_return_mean", "parity_max_error"):
        with pytest.raises(ConfigError, match=name):
            make(**{name: float("nan")})


def test_a_name_the_registry_cannot_hold_is_refused():
    with pytest.raises(ConfigError, match="model_name"):
        config(name="a/b")
