"""The group-sequential paired test: its numbers by hand, what it promises by simulation, and what it cannot."""

import math
from statistics import NormalDist

import numpy as np
import paired_differences as drawn
import pytest

from sacpipe.core.errors import ConfigError
from sacpipe.release import sign_flips, student_t
from sacpipe.release.paired_test import (
    PairedPlan,
    look_shares,
    paired_test,
    spent_share,
)

ALPHA = 0.05


def plan(must_be="better", margin=0.0, alpha=ALPHA, looks=drawn.LOOKS):
    return PairedPlan(must_be, margin, alpha, looks)


def steady(mean, pairs=240, spread=1.0):
    """Return differences with a mean at every even number of pairs: mean - spread and mean + spread in turn."""
    return mean + spread * np.resize([-1.0, 1.0], pairs)


SYMMETRIC = {
    "normal": drawn.normal,
    "heavy tails": drawn.heavy_tails,
    "1 in 10 differs": drawn.discrete(0.05, 0.9, 0.05),
    "6 in 10 differ": drawn.discrete(0.3, 0.4, 0.3),
    "every one differs": drawn.discrete(0.5, 0.0, 0.5),
}
"""Differences of a policy against itself have these forms: candidate and champion can be exchanged."""
SKEWED = {
    "exponential to the left": drawn.exponential(drawn.LEFT),
    "exponential to the right": drawn.exponential(drawn.RIGHT),
    "lognormal to the left": drawn.lognormal(drawn.LEFT),
    "lognormal to the right": drawn.lognormal(drawn.RIGHT),
    "5 % fewer successes": drawn.discrete(0.1, 0.85, 0.05),
    "10 % fewer successes": drawn.discrete(0.2, 0.7, 0.1),
    "1 in 20 fails": drawn.discrete(0.05, 0.95, 0.0),
    "1 in 5 fails": drawn.discrete(0.2, 0.8, 0.0),
    "1 in 5 falls": drawn.falls(0.2, 5),
    "1 in 10 falls deep": drawn.falls(0.1, 10),
    "1 in 20 falls": drawn.falls(0.05, 5),
    "1 in 20 falls deep": drawn.falls(0.05, 10),
    "1 in 20 falls without end": drawn.falls(0.05, 1000),
}
"""Differences of two policies, less their mean."""


def test_the_shares_of_the_looks_are_third_powers():
    assert look_shares((60, 120, 240)) == (1 / 64, 7 / 64, 56 / 64)
    assert look_shares((20, 40)) == (1 / 8, 7 / 8)
    assert look_shares((30,)) == (1.0,)
    assert (spent_share(0.5), spent_share(1.0)) == (0.125, 1.0)


@pytest.mark.parametrize(
    ("looks", "ours", "pocock", "obrien_fleming"),
    [
        ((500, 1000), (2.734, 2.017), (2.178, 2.178), (2.797, 1.977)),
        ((400, 800, 1200), (3.113, 2.485, 2.106), (2.289, 2.289, 2.289), (3.471, 2.454, 2.004)),
    ],
)
def test_boundaries_are_near_to_published_ones(looks, ours, pocock, obrien_fleming):
    """For a one-sided alpha of 2.5 %, as standard normal deviates.

    Pocock (1977) and O'Brien and Fleming (1979) as in Jennison and Turnbull (2000), tables 2.1 and 2.3. The union bound
    may be stricter than a boundary that supposes normal differences, never looser at all looks.
    """
    found = [NormalDist().inv_cdf(1 - 0.025 * share) for share in look_shares(looks)]
    assert found == pytest.approx(ours, abs=6e-4)
    assert found == pytest.approx(obrien_fleming, abs=0.36)
    assert found[-1] - obrien_fleming[-1] < 0.11
    assert found[0] > pocock[0]
    assert found[-1] < pocock[-1]


@pytest.mark.parametrize(
    ("must_be", "margin", "value", "accepted", "reason"),
    [
        ("not_worse", 0.0, 0.0, True, "never_lower"),
        ("not_worse", 0.0, 3.0, True, "above_bound"),
        ("not_worse", 0.0, -1e-9, False, "futile"),
        ("not_worse", 2.0, -1.9, True, "above_bound"),
        ("not_worse", 2.0, -2.0, False, "last_look"),
        ("not_worse", 2.0, -2.1, False, "futile"),
        ("better", 0.0, 0.0, False, "last_look"),
        ("better", 0.0, 1e-9, True, "above_bound"),
        ("better", 2.0, 2.0, False, "last_look"),
        ("better", 2.0, 2.1, True, "above_bound"),
    ],
)
def test_equal_differences_are_compared_with_the_bound_at_the_last_look(
    must_be, margin, value, accepted, reason
):
    found = paired_test(np.full(240, value), plan(must_be, margin))
    assert (found.accepted, found.reason) == (accepted, reason)
    assert found.pairs == (120 if reason == "futile" else 240)
    assert (found.mean, found.low, found.high) == pytest.approx((value, value, value))


def test_a_candidate_that_is_lower_in_no_pair_is_not_worse():
    """One higher return must not turn equal policies into a refusal; one lower return may."""
    differences = np.zeros(240)
    differences[7] = 1.0
    assert paired_test(differences, plan("not_worse")).reason == "never_lower"
    assert not paired_test(differences, plan("better")).accepted
    assert paired_test(-differences, plan("not_worse")).outcome == "refused"


@pytest.mark.parametrize(
    ("mean", "reason", "pairs", "spent"),
    [
        (1.0, "above_bound", 60, ALPHA / 64),
        (0.3, "above_bound", 120, ALPHA / 8),
        (0.15, "above_bound", 240, ALPHA),
        (0.05, "last_look", 240, ALPHA),
        (-0.05, "futile", 120, ALPHA / 8),
        (-1.0, "below_bound", 60, ALPHA / 64),
    ],
)
def test_the_test_stops_at_the_first_look_that_decides(mean, reason, pairs, spent):
    found = paired_test(steady(mean), plan())
    assert (found.reason, found.pairs) == (reason, pairs)
    assert found.look == drawn.LOOKS.index(pairs) + 1
    assert found.mean == pytest.approx(mean)
    assert found.spent == pytest.approx(spent)
    assert found.accepted is (found.low > 0) is (found.p_value <= ALPHA)
    assert found.low < mean < found.high
    assert found.outcome == ("accepted" if reason == "above_bound" else "refused")


def test_the_interval_is_students_at_the_share_of_the_look():
    """Of 120 pairs in turn 0.3 - 1 and 0.3 + 1: standard error sqrt(1 / 119), t of 0.05 * 7 / 64 and 119 degrees
    2.584. The ends of the sign flips are nearly the same; the wider ones count."""
    found = paired_test(steady(0.3), plan())
    assert (found.low, found.high) == pytest.approx(
        (0.3 - 2.584 / math.sqrt(119), 0.3 + 2.584 / math.sqrt(119)), abs=4e-3
    )


def test_the_p_value_is_the_smallest_alpha_that_accepts():
    differences = steady(0.2)
    p_value = paired_test(differences, plan(alpha=0.01)).p_value
    assert not paired_test(differences[:120], plan(alpha=0.01)).accepted
    for alpha, accepted in ((p_value * 1.001, True), (p_value * 0.999, False)):
        found = paired_test(differences, plan(alpha=alpha))
        assert found.accepted is accepted


def test_sign_flips_refuse_what_students_t_accepts():
    """Five of 20 pairs differ, all for the better: 1 / 32 by flips, and t is 0.25 / sqrt(0.1875 / 19) = 2.52, p 0.0105."""
    differences = np.array([1.0] * 5 + [0.0] * 15)
    found = paired_test(differences, plan(alpha=0.02, looks=(20,)))
    assert (found.accepted, found.p_value) == (False, 1 / 32)
    assert found.low <= 0
    assert student_t.p_values(differences[None, :], 0.0)[0] < 0.011


def test_the_corrected_t_refuses_what_sign_flips_accept():
    """One deep fall in 20 pairs: flips accept at 2 %, as plain t does: 0.7 / sqrt(1.71 / 19) = 2.33, p 0.0154."""
    differences = np.array([1.0] * 19 + [-5.0])
    found = paired_test(differences, plan(alpha=0.03, looks=(20,)))
    assert sign_flips.p_values(differences[None, :], 0.0)[0] < 0.02
    assert not found.accepted
    assert found.low < 0


def test_fewer_pairs_leave_it_undecided_and_a_look_after_another_finds_the_same():
    differences = steady(0.15)
    for pairs in (60, 61, 120, 239):
        found = paired_test(differences[:pairs], plan())
        assert (found.outcome, found.reason, found.pairs) == (
            "undecided",
            "next_look",
            60 if pairs < 120 else 120,
        )
    assert paired_test(differences, plan()) == paired_test(np.append(differences, [1e9, np.nan]), plan())


def test_fewer_pairs_than_the_first_look_are_refused():
    with pytest.raises(ConfigError, match="expected at least 60 pairs .* found 59"):
        paired_test(np.zeros(59), plan())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_difference_that_is_not_finite_refuses(value):
    differences = steady(0.15)
    differences[71] = value
    found = paired_test(differences, plan("not_worse"))
    assert (found.outcome, found.reason, found.pairs) == ("refused", "not_finite", 120)
    assert found.fault == f"the difference of pair 72 is {value}"
    assert math.isnan(found.mean)


def test_differences_whose_sum_overflows_refuse():
    found = paired_test(np.full(240, 1e308), plan("not_worse"))
    assert (found.outcome, found.fault) == (
        "refused",
        "the sum of the differences is beyond the range of numbers",
    )


@pytest.mark.slow
@pytest.mark.parametrize("unit", [1e-200, 1e-3, 1e3, 1e200])
def test_the_unit_of_the_return_changes_nothing(unit):
    for mean in (-0.1, 0.02, 0.14, 0.5):
        ours, theirs = (
            paired_test(steady(mean) * scale, plan("better", 0.01 * scale)) for scale in (1.0, unit)
        )
        assert (ours.outcome, ours.pairs, ours.p_value) == pytest.approx(
            (theirs.outcome, theirs.pairs, theirs.p_value)
        )


@pytest.mark.slow
@pytest.mark.parametrize("must_be", ["not_worse", "better"])
@pytest.mark.parametrize("form", ["normal", "6 in 10 differ", "lognormal to the left", "1 in 5 fails"])
def test_many_tests_at_once_are_those_of_one(must_be, form):
    rows = drawn.simulated((SYMMETRIC | SKEWED)[form], 6, seed=3) + 0.1
    for margin in (0.0, 0.1):
        tested = plan(must_be, margin)
        results = [paired_test(row, tested) for row in rows]
        assert drawn.accepted(rows, tested).tolist() == [result.accepted for result in results]
        for result in results:
            if result.reason != "never_lower":
                assert result.accepted is (result.p_value <= ALPHA)
                assert not result.accepted or result.low > tested.bound


def refused(draw, tests, must_be="better", margin=0.0, alpha=ALPHA, looks=drawn.LOOKS):
    """Return the share of tests that refuse a candidate whose mean difference is the bound."""
    tested = plan(must_be, margin, alpha, looks)
    return 1 - drawn.accepted(drawn.simulated(draw, tests, looks) + tested.bound, tested).mean()


@pytest.mark.slow
@pytest.mark.parametrize("looks", [drawn.LOOKS, (20, 40, 80)])
@pytest.mark.parametrize("form", SYMMETRIC)
def test_a_policy_against_itself_is_rarely_better(form, looks):
    assert 1 - refused(SYMMETRIC[form], 4000, looks=looks) <= drawn.binomial_limit(4000, ALPHA)


@pytest.mark.slow
@pytest.mark.parametrize("form", [*SYMMETRIC, *SKEWED])
def test_a_candidate_that_is_worse_by_the_margin_is_refused(form):
    draw = (SYMMETRIC | SKEWED)[form]
    assert refused(draw, 4000, "not_worse", 0.5) >= 1 - drawn.binomial_limit(4000, ALPHA)


def test_equal_policies_are_never_better_and_always_not_worse():
    assert refused(drawn.equal, 10) == 1
    assert refused(drawn.equal, 10, "not_worse") == 0
    assert refused(drawn.equal, 10, "not_worse", 0.5) == 1


@pytest.mark.acceptance
@pytest.mark.parametrize(
    ("form", "alpha"),
    [*((form, 0.05) for form in [*SYMMETRIC, *SKEWED]), *((form, 0.01) for form in SYMMETRIC)],
)
def test_the_error_of_many_tests(form, alpha):
    share = 1 - refused((SYMMETRIC | SKEWED)[form], 10_000, "not_worse", 0.5, alpha)
    assert share <= drawn.binomial_limit(10_000, alpha)


@pytest.mark.slow
def test_looks_without_a_correction_exceed_alpha():
    """Armitage, McPherson and Rowe (1969): three equal looks at a two-sided 5 % each have an error of 10.7 %."""
    differences = drawn.simulated(drawn.normal, 20_000)
    outside = [
        student_t.p_values(side * differences[:, :pairs], 0.0) <= 0.025
        for pairs in (80, 160, 240)
        for side in (-1, 1)
    ]
    assert np.any(outside, axis=0).mean() == pytest.approx(0.107, abs=0.007)
    one_sided = np.any(outside[::2], axis=0).mean()
    assert one_sided > drawn.binomial_limit(20_000, 0.025)


@pytest.mark.slow
def test_students_t_alone_accepts_a_candidate_that_falls():
    """Without the correction for skewness, one that is worse by the margin is accepted more than twice too often."""
    differences = drawn.simulated(drawn.lognormal(drawn.LEFT), 4000)
    means, errors = differences.mean(axis=1), differences.std(axis=1, ddof=1) / math.sqrt(240)
    alone = student_t.upper_tail(means / errors, 239) <= ALPHA
    assert alone.mean() > 1.5 * ALPHA
    assert (student_t.p_values(differences, 0.0) <= ALPHA).mean() <= drawn.binomial_limit(4000, ALPHA)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "effect", "share"),
    [
        ("normal", 0.16, 0.75),
        ("normal", 0.25, 0.97),
        ("6 in 10 differ", 0.16, 0.75),
        ("exponential to the left", 0.25, 0.9),
        ("lognormal to the left", 0.25, 0.75),
        ("exponential to the right", 0.25, 0.97),
        ("1 in 10 falls deep", 0.25, 0.9),
    ],
)
def test_a_better_candidate_is_accepted(form, effect, share):
    """The effect is in standard deviations of the difference."""
    differences = drawn.simulated((SYMMETRIC | SKEWED)[form], 2000)
    accepted = drawn.accepted(differences + effect * differences.std(), plan())
    assert accepted.mean() >= share


@pytest.mark.slow
@pytest.mark.parametrize(("margin", "share"), [(0.16, 0.75), (0.25, 0.97), (0.5, 1.0)])
def test_an_equal_candidate_is_not_worse_where_the_margin_is_wide_enough(margin, share):
    """The margin is in standard deviations of the difference."""
    assert drawn.accepted(drawn.simulated(drawn.normal, 2000), plan("not_worse", margin)).mean() >= share


@pytest.mark.slow
def test_falls_that_are_seen_in_no_episode_cannot_be_refused():
    """What no test promises: one episode in 50 falls, and 60 pairs show no fall with 0.98 ** 60 = 30 %."""
    assert 1 - refused(drawn.falls(0.02, 1000), 4000) == pytest.approx(0.98**60, abs=0.03)
