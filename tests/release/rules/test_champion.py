"""Rule `champion`: worse, equal, better and not finite, in words, with advice that gets further."""

import math
from dataclasses import replace

import numpy as np
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.core.seeding import generator
from sacpipe.release.rules.champion import Champion
from sacpipe.specs.budget import Budget
from sacpipe.testing.rule_evidence import GivenScored, given_evidence

CHAMPION = tuple(generator(0, "tests/champion").normal(9000.0, 100.0, size=240))
COMMITTED = "in release.rules of params.yaml and commit it."
STEADY = np.resize([-1.0, 1.0], 240)


def rule(**changes):
    keys = {"must_be": "not_worse", "margin": 0.0, "alpha": 0.05, "looks": [60, 120, 240]}
    return Champion.parse({"name": "champion"} | keys | changes)


def judged(differences, **changes):
    """Judge a candidate whose returns are the champion's and these differences."""
    candidate = tuple(float(value) for value in np.array(CHAMPION) + differences)
    return rule(**changes).judge(given_evidence(candidate, CHAMPION))


@pytest.mark.parametrize(
    ("is_champion", "why"), [(False, "there is no champion"), (True, "the candidate is the champion")]
)
def test_a_candidate_that_is_compared_with_none_says_why(is_champion, why):
    finding = rule().judge(replace(given_evidence((1.0,)), is_champion=is_champion))
    assert (finding.ok, finding.found, finding.figure) == (True, f"not compared: {why}", None)


def test_a_better_candidate_is_accepted_in_words():
    """Student's interval would be 12 +- 3.31 * 10 / sqrt(59), 7.69 to 16.31; that of the sign flips is wider."""
    finding = judged(12.0 + 10.0 * STEADY, must_be="better")
    assert finding.ok
    assert finding.figure == pytest.approx(12.0)
    assert (finding.threshold, finding.unit, finding.advice) == (0.0, "return", "")
    assert finding.text() == (
        "champion: better by 12 on the same 60 seeds (95 % bounds 7.52 and 16.4), must be better (risk of a wrong "
        "yes 5 %)"
    )
    assert finding.interval == pytest.approx((7.52, 16.4), abs=0.005)
    assert finding.episodes == 60


def test_an_equal_policy_is_not_worse_and_not_better():
    equal = judged(0.0)
    assert (equal.ok, equal.found) == (True, "equal to the champion on all of 240 seeds")
    assert equal.expected == "must not be worse (risk of a wrong yes 5 %)"
    refused = judged(0.0, must_be="better", margin=1.0)
    assert (refused.ok, refused.expected) == (
        False,
        "must be better by more than 1 (risk of a wrong yes 5 %)",
    )
    assert refused.advice == (
        f"Train longer or with another seed, or ask for `must_be: not_worse` {COMMITTED}"
    )


@pytest.mark.parametrize(("margin", "ok"), [(25.0, True), (10.0, False), (0.0, False)])
def test_the_margin_decides_on_a_policy_that_is_a_little_worse(margin, ok):
    finding = judged(-10.0 + 50.0 * STEADY, margin=margin)
    assert (finding.ok, finding.threshold) == (ok, -margin)
    assert "worse by 10 on the same" in finding.found


@pytest.mark.parametrize(("sign", "margin", "ok"), [(1, "1 %", True), (-1, "1%", True), (1, "0.5 %", False)])
def test_a_margin_in_percent_is_of_the_champions_mean_return_at_the_first_look(sign, margin, ok):
    """The means of the first 60 are 2,000 and -2,000; those of all would be 1,250 and -1,250."""
    champion = sign * np.where(np.arange(240) < 60, 2000.0, 1000.0)
    candidate = champion - 10.0 + 20.0 * STEADY
    finding = rule(margin=margin).judge(given_evidence(tuple(candidate), tuple(champion)))
    assert finding.ok == ok
    assert finding.threshold == pytest.approx(-20.0 if ok else -10.0)
    said = f"{20 if ok else 10} ({margin} of the champion's mean return)"
    assert finding.expected == f"must not be worse by {said} or more (risk of a wrong yes 5 %)"


def test_a_champion_without_return_has_no_margin_in_percent():
    finding = rule(margin="5 %").judge(given_evidence((0.0,) * 240, (0.0,) * 240))
    assert (finding.ok, finding.expected) == (True, "must not be worse (risk of a wrong yes 5 %)")


def test_the_preset_is_five_percent_of_what_is_published_or_else_of_the_champions_return():
    assert Champion.preset(None, Budget(1000, min_return_mean=-200.0))["margin"] == pytest.approx(10.0)
    assert Champion.preset(None, Budget(1000))["margin"] == "5 %"


def test_a_worse_candidate_is_refused_at_the_first_look():
    finding = judged(-100.0 + 10.0 * STEADY, margin=50.0)
    assert finding.found == "worse by 100 on the same 60 seeds (95 % bounds -104.48 and -95.6)"
    assert finding.expected == "must not be worse by 50 or more (risk of a wrong yes 5 %)"
    assert finding.advice.startswith("Train longer")


def test_the_advice_counts_the_pairs_that_would_show_a_small_difference():
    """Half of the interval is 1.718 * 10 / sqrt(239) = 1.111; 240 * (1.111 / 0.5) ** 2 = 1,185 pairs, and for 0.2 it is 7,400."""
    finding = judged(0.5 + 10.0 * STEADY, must_be="better")
    assert finding.advice == (
        "A difference of this size shows after about 1,190 seeds: set a later last look or ask for "
        f"`must_be: not_worse` {COMMITTED}"
    )
    small = judged(0.2 + 10.0 * STEADY)
    assert small.advice == (
        f"2,000 seeds cannot show a difference this small: train longer, or set a larger `margin` {COMMITTED}"
    )


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_return_that_is_not_finite_is_refused_with_its_reason(bad):
    spoiled = (*CHAMPION[:7], bad, *CHAMPION[8:])
    cases = (
        (spoiled, CHAMPION, "candidate", "return of seed 7"),
        (spoiled, spoiled, "candidate", "return of seed 7"),
        (CHAMPION, spoiled, "champion", "until it is replaced"),
    )
    for ours, theirs, whose, advice in cases:
        finding = rule(margin="5 %" if theirs is spoiled else 1e9).judge(given_evidence(ours, theirs))
        assert (finding.ok, finding.figure) == (False, None)
        assert finding.found == f"not finite: the {whose}'s return of seed 7 is {bad}"
        assert advice in finding.advice


def test_returns_whose_sum_is_beyond_numbers_are_refused():
    finding = rule().judge(given_evidence((1e308,) * 60, (0.0,) * 60))
    assert finding.found == "not finite: the sum of the differences is beyond the range of numbers"


@pytest.mark.parametrize(("difference", "looks"), [(100.0, [60]), (-1.0, [60, 120]), (0.0, [60, 120, 240])])
def test_no_episode_is_run_after_the_look_that_decides(difference, looks, monkeypatch):
    numbers = []
    returns = GivenScored.returns
    monkeypatch.setattr(GivenScored, "returns", lambda scored, n: numbers.append(n) or returns(scored, n))
    judged(difference + (0.0 if difference == 0 else 10.0) * STEADY)
    assert numbers == [pairs for pairs in looks for _ in range(2)]


def test_a_lucky_seed_gains_nothing():
    """A candidate that was evaluated at 12,000 on a seed of its own choice, and is as good as the champion on the gate's."""
    random = generator(1, "tests/lucky")
    candidate = tuple(random.normal(9000.0, 100.0, size=240))
    finding = rule(must_be="better").judge(given_evidence(candidate, CHAMPION))
    assert not finding.ok
    assert abs(finding.figure) < 50


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"looks": [60, 60]}, "looks: expected ascending numbers of pairs from 10 to 2,000"),
        ({"looks": [120, 60]}, "looks: expected ascending"),
        ({"looks": [9, 60]}, "looks: expected ascending"),
        ({"looks": [60, 2001]}, "looks: expected ascending"),
        ({"looks": []}, "looks"),
        *(
            ({"margin": bad}, "margin: expected a number of at least 0 in task units, or a share as `5 %`")
            for bad in (-1.0, math.nan, math.inf, True, None, [1.0], "5", "-5 %", "5 % of it")
        ),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 0.5}, "alpha"),
        ({"must_be": "equal"}, "must_be"),
    ],
)
def test_values_out_of_range_are_named(changes, named):
    with pytest.raises(ConfigError, match=named):
        rule(**changes)
