"""Rules of returns: `floor` and `worst_case`, on both sides of their bounds."""

import math

import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.release.rules.floor import Floor
from sacpipe.release.rules.rule import RULES
from sacpipe.release.rules.worst_case import WorstCase
from sacpipe.testing.rule_evidence import given_evidence


def floor(minimum):
    return Floor(name="floor", min_return_mean=minimum, episodes=4)


@pytest.mark.parametrize(("minimum", "ok"), [(11.0, True), (11.01, False), (None, True)])
def test_the_mean_return_is_at_least_the_floor(minimum, ok):
    finding = floor(minimum).judge(given_evidence((10.0, 11.0, 12.0, 11.0)))
    assert (finding.ok, finding.figure, finding.threshold, finding.unit) == (ok, 11.0, minimum, "return")
    assert (bool(finding.advice), finding.episodes) == (not ok, 4)


def test_the_floor_is_reported_in_words():
    finding = floor(9300.0).judge(given_evidence((9359.8, 9359.82)))
    assert finding.text() == "floor: mean return 9,359.81 (4 episodes), floor 9,300"
    one = Floor(name="floor", min_return_mean=None, episodes=1).judge(given_evidence((1.0,)))
    assert one.found == "mean return 1 (1 episode)"
    assert floor(None).judge(given_evidence((1.0,))).expected == "no floor"


def test_only_the_floors_own_episodes_count():
    assert floor(1.0).judge(given_evidence((1.0, 1.0, 1.0, 1.0, -100.0))).ok


def test_a_mean_that_is_not_finite_is_refused_without_a_floor_too():
    finding = floor(None).judge(given_evidence((1.0, math.nan)))
    assert (finding.ok, finding.figure) == (False, None)
    assert "not a finite number" in finding.advice


def worst(**changes):
    keys = {"quantile": 0.25, "min_return": None, "max_loss": None, "episodes": 8}
    return WorstCase.parse({"name": "worst_case"} | keys | changes)


RETURNS = (8.0, 3.0, 5.0, 1.0, 9.0, 7.0, 6.0, 4.0)


@pytest.mark.parametrize(
    ("quantile", "lowest"), [(0.01, 1.0), (0.125, 1.0), (0.126, 3.0), (0.25, 3.0), (0.3, 4.0), (0.5, 5.0)]
)
def test_the_quantile_is_one_of_the_returns(quantile, lowest):
    finding = worst(quantile=quantile).judge(given_evidence(RETURNS))
    assert (finding.figure, finding.episodes) == (lowest, 8)


def test_five_in_a_hundred_are_five_though_no_binary_fraction_is_a_twentieth():
    returns = tuple(float(value) for value in range(1, 101))
    for quantile, expected in ((0.05, 5.0), (0.07, 7.0), (0.29, 29.0)):
        assert worst(quantile=quantile, episodes=100).judge(given_evidence(returns)).figure == expected


@pytest.mark.parametrize(("minimum", "ok"), [(3.0, True), (3.1, False)])
def test_the_return_at_the_quantile_is_at_least_the_minimum(minimum, ok):
    finding = worst(min_return=minimum).judge(given_evidence(RETURNS))
    assert (finding.ok, finding.threshold) == (ok, minimum)
    assert finding.text() == (
        f"worst_case: the lowest 25 % of 8 returns are at most 3, floor {minimum:g} (min_return)"
    )
    assert bool(finding.advice) is not ok
    if not ok:
        assert finding.advice.startswith("Lowest: 1 (seed 3), 3 (seed 1), 4 (seed 7). Train longer")


@pytest.mark.parametrize(("max_loss", "ok"), [(2.0, True), (1.9, False), (0.0, False)])
def test_it_is_at_most_the_loss_below_the_champions(max_loss, ok):
    champion = tuple(value + 2.0 for value in reversed(RETURNS))
    finding = worst(max_loss=max_loss).judge(given_evidence(RETURNS, champion))
    assert (finding.ok, finding.threshold) == (ok, 5.0 - max_loss)
    assert finding.expected == (
        f"floor {5 - max_loss:g} (the champion's 5 on the same seeds"
        f"{f', less max_loss {max_loss:g}' if max_loss else ''})"
    )


def test_the_higher_of_two_thresholds_counts():
    evidence = given_evidence(RETURNS, RETURNS)
    assert worst(max_loss=1.0, min_return=2.5).judge(evidence).threshold == 2.5
    assert worst(max_loss=1.0, min_return=1.5).judge(evidence).threshold == 2.0


def test_rare_falls_are_refused_though_the_mean_is_better():
    """A better policy in 19 of 20 episodes that falls in the 20th: mean 95, champion's 90."""
    falls, champion = (100.0,) * 19 + (0.0,), (90.0,) * 20
    rule = WorstCase(name="worst_case", quantile=0.05, min_return=None, max_loss=10.0, episodes=60)
    finding = rule.judge(given_evidence(falls, champion))
    assert (finding.ok, finding.figure, finding.threshold) == (False, 0.0, 80.0)


def test_without_a_champion_and_a_minimum_it_shows_the_figure():
    finding = worst(max_loss=1.0).judge(given_evidence(RETURNS))
    assert (finding.ok, finding.figure, finding.threshold) == (True, 3.0, None)


def test_a_champion_with_a_return_that_is_not_finite_sets_no_floor():
    finding = worst(min_return=1.0, max_loss=0.0).judge(given_evidence(RETURNS, (*RETURNS[:7], math.inf)))
    assert (finding.ok, finding.threshold) == (True, 1.0)
    assert finding.expected.endswith("(min_return, and the champion's is nan)")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_return_that_is_not_finite_refuses(bad):
    finding = worst(min_return=-1e9).judge(given_evidence((*RETURNS[:7], bad)))
    assert (finding.ok, finding.figure) == (False, None)


@pytest.mark.parametrize(
    "changes", [{"quantile": 0.0}, {"quantile": 0.6}, {"max_loss": -1.0}, {"episodes": 0}]
)
def test_values_out_of_range_are_named(changes):
    with pytest.raises(ConfigError, match=next(iter(changes))):
        worst(**changes)


@pytest.mark.parametrize(
    "name", ["floor", "worst_case", "observation_noise", "dropouts", "delay", "mass", "friction"]
)
def test_advice_to_change_a_threshold_says_where_it_is_and_that_it_is_committed(name):
    """The rules of a commit count, so that a change of params.yaml alone does nothing."""
    finding = RULES.find(name).example().judge(given_evidence((-1000.0,) * 4, (1000.0,) * 4))
    assert not finding.ok
    assert finding.advice.endswith(" in release.rules of params.yaml and commit it.")
