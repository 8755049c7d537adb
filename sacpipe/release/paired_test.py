"""A group-sequential test of paired differences: candidate's return minus champion's, on the same seed.

The pairs are looked at a fixed number of times. Each look may spend a fixed share of the error probability
alpha, so that all looks together keep it: a weighted Bonferroni bound, whatever the looks' dependence. At a
look, the larger of two p-values counts. That of Student's t with a correction for skewness is right for the
mean of skewed differences, by approximation. That of a sign-flip test is exact for differences that are
symmetric about the bound, as those of a policy against itself are. AdaStop (Mathieu et al. 2023, arXiv
2306.10882) compares policies by permutations at fixed looks too. docs/decisions/0023 has what is exact, what
is by simulation, and what no test can promise.

Nothing is drawn at random, so that the same differences have the same result.
"""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sacpipe.core.errors import ConfigError
from sacpipe.release import sign_flips, student_t

Floats = NDArray[np.float64]
Outcome = Literal["accepted", "refused", "undecided"]
Reason = Literal[
    "above_bound", "never_lower", "below_bound", "futile", "last_look", "not_finite", "next_look"
]

MIN_PAIRS = 10
"""Fewest pairs of a look: a skewness of fewer says nothing."""
_POWER = 3
"""Exponent of the spending function."""


@dataclass(frozen=True)
class PairedPlan:
    """What is tested, and when; fixed before the first episode."""

    must_be: Literal["not_worse", "better"]
    """`not_worse`: the mean difference is above -margin; `better`: it is above margin."""
    margin: float
    """Margin in task units, at least 0."""
    alpha: float
    """Probability, over all looks together, to accept a candidate whose mean difference is the bound."""
    looks: tuple[int, ...]
    """Numbers of pairs at which the test is made, ascending, each at least `MIN_PAIRS`."""

    @property
    def bound(self) -> float:
        """The mean difference that a candidate must exceed, in task units."""
        return self.margin if self.must_be == "better" else 0.0 - self.margin


@dataclass(frozen=True)
class PairedResult:
    """What the test found at the last look that it made."""

    outcome: Outcome
    """`undecided`: the plan has another look, for which there are too few pairs."""
    reason: Reason
    """Why the test stopped. `never_lower`: the candidate's return is lower in no pair. `below_bound`: the
    whole interval is. `futile`: the mean is, after half of the pairs. `not_finite`: see `fault`."""
    look: int
    """Number of the look, from 1."""
    pairs: int
    """Pairs that were used."""
    mean: float
    """Mean difference, in task units; NaN where a difference is not finite, as are the next three."""
    low: float
    """Lower end of the interval of the mean, in task units; infinite where alpha is too small for the look.
    With probability 1 - alpha, no look's lower end is above the true mean; so for the upper ends."""
    high: float
    """Upper end."""
    p_value: float
    """Smallest alpha at which a look so far accepts as `above_bound`, at most 1."""
    spent: float
    """Part of alpha that is spent."""
    fault: str = ""
    """Which difference is not finite, in words."""

    @property
    def accepted(self) -> bool:
        """Whether the candidate is accepted."""
        return self.outcome == "accepted"


def spent_share(fraction: float) -> float:
    """Return the share of alpha that may be spent when a fraction of the pairs is there: its third power.

    Spending is an idea of Lan and DeMets (1983), Discrete sequential boundaries for clinical trials,
    Biometrika 70. The function alpha * t^3 is of Kim and DeMets (1987), Design and analysis of group
    sequential tests based on the type I error spending rate function, Biometrika 74.

    Args:
        fraction: Pairs of the look, divided by those of the last look.
    """
    return fraction**_POWER


def look_shares(looks: tuple[int, ...]) -> tuple[float, ...]:
    """Return the share of alpha that each look may spend for itself. They add up to 1."""
    spent = [0.0, *(spent_share(pairs / looks[-1]) for pairs in looks)]
    return tuple(after - before for before, after in pairwise(spent))


def paired_test(differences: Floats, plan: PairedPlan) -> PairedResult:
    """Make every look for which there are pairs, until one decides.

    A caller that runs episodes one look after another calls it again with all differences so far. A stop for
    futility only refuses, so that it cannot raise the error.

    Args:
        differences: Candidate minus champion, in task units, in the order of the seeds; those after the last
            look are not used.
        plan: The plan, the same in every call.

    Raises:
        ConfigError: there are fewer pairs than the first look needs.
    """
    if len(differences) < plan.looks[0]:
        raise ConfigError(
            f"looks: expected at least {plan.looks[0]} pairs of episodes for the first look, found "
            f"{len(differences)}. Run more episodes, or set a smaller first look."
        )
    p_value, spent = 1.0, 0.0
    for look, (pairs, share) in enumerate(zip(plan.looks, look_shares(plan.looks), strict=True), start=1):
        if pairs > len(differences):
            break
        part = np.asarray(differences[:pairs], dtype=np.float64)
        spent += plan.alpha * share
        if fault := _not_finite(part):
            nothing = (math.nan,) * 4
            return PairedResult("refused", "not_finite", look, pairs, *nothing, spent=spent, fault=fault)
        if part.min() < part.max() or pairs == plan.looks[-1]:  # equal differences show no spread yet
            p_value = min(p_value, p_value_at(part, plan.bound) / share)
        low, high = interval_at(part, plan.alpha * share)
        outcome, reason = _decide(part, plan, p_value, high)
        result = PairedResult(outcome, reason, look, pairs, float(part.mean()), low, high, p_value, spent)
        if outcome != "undecided":
            break
    return result


def p_value_at(differences: Floats, bound: float) -> float:
    """Return the larger p-value of the two tests of one look: that the mean is at most the bound."""
    row = differences[None, :]
    return float(max(student_t.p_values(row, bound)[0], sign_flips.p_values(row, bound)[0]))


def interval_at(differences: Floats, level: float) -> tuple[float, float]:
    """Return the ends of the mean's interval: the wider ones of the two tests.

    Args:
        differences: Of one look.
        level: Probability that the mean is below the lower end, and that it is above the upper one.
    """
    low, high = (
        min(student_t.lower_end(side, level), sign_flips.lower_end(side, level))
        for side in (differences, -differences)
    )
    return low, 0.0 - high


def _decide(differences: Floats, plan: PairedPlan, p_value: float, high: float) -> tuple[Outcome, Reason]:
    """Return whether a look stops the test, and why."""
    pairs, last = len(differences), plan.looks[-1]
    if p_value <= plan.alpha:
        return "accepted", "above_bound"
    if high <= plan.bound and differences.min() < differences.max():
        return "refused", "below_bound"
    if pairs == last:
        never_lower = plan.must_be == "not_worse" and bool(differences.min() >= 0)
        return ("accepted", "never_lower") if never_lower else ("refused", "last_look")
    if 2 * pairs >= last and differences.mean() < plan.bound:
        return "refused", "futile"
    return "undecided", "next_look"


def _not_finite(differences: Floats) -> str:
    """Return which difference is not finite, in words; empty where the sum of all is."""
    wrong = np.flatnonzero(~np.isfinite(differences))
    if len(wrong):
        return f"the difference of pair {wrong[0] + 1} is {differences[wrong[0]]}"
    with np.errstate(over="ignore"):
        total = float(np.abs(differences).sum())
    return "" if math.isfinite(total) else "the sum of the differences is beyond the range of numbers"
