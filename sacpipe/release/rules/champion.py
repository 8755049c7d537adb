"""Release rule `champion`: the candidate against the champion, by a paired test on the same seeds."""

import math
import re
from itertools import pairwise
from typing import Any, Literal, Self, cast

import numpy as np
from pydantic import Field, field_validator

from sacpipe.release.evidence import Evidence, Scored
from sacpipe.release.paired_test import MIN_PAIRS, PairedPlan, PairedResult, paired_test
from sacpipe.release.rules.rule import RETURN, Rule, in_params, in_words
from sacpipe.release.verdict import Finding
from sacpipe.specs.budget import Budget
from sacpipe.specs.env_spec import EnvSpec

MAX_PAIRS = 2000
_DEFAULT_MARGIN = "5 %"
_PERCENT = re.compile(r"\d{1,3}(\.\d+)? ?%")
_DEFAULT_LOOKS = (60, 120, 240)
"""Of 60 episodes, 1 - 0.95 ** 60 = 95 % of the time one shows a fall that happens in 1 of 20."""


class Champion(Rule):
    """Mean return less the champion's, by a paired test on the same seeds.

    In params.yaml: `{name: champion, must_be: not_worse, margin: 50.0, alpha: 0.05, looks: [60, 120, 240]}`.
    The seeds are the gate's own, so that a candidate that was good on the seeds of its training or evaluation
    gains nothing by them.
    """

    name: Literal["champion"]
    must_be: Literal["not_worse", "better"]
    """`not_worse`: by less than the margin; `better`: by more than the margin."""
    margin: float | str
    """Difference of mean returns that matters, in task units; or as `5 %` of the size of the champion's mean
    return at the first look. With 0, only a candidate that is better, or that is lower in no episode, is
    not worse."""
    alpha: float = Field(ge=0.001, lt=0.5)
    """Probability, over all looks together, to accept a candidate that is at the margin."""
    looks: tuple[int, ...] = Field(min_length=1, max_length=10)
    """Numbers of episodes of either policy after which the test is made, ascending; the first that decides
    ends it."""

    @field_validator("margin", mode="before")
    @classmethod
    def _margin(cls, margin: object) -> object:
        if isinstance(margin, str):
            is_right = _PERCENT.fullmatch(margin) is not None
        else:
            is_right = type(margin) in {int, float} and 0 <= cast(float, margin) < math.inf
        if is_right:
            return margin
        raise ValueError("expected a number of at least 0 in task units, or a share as `5 %`")

    @field_validator("looks")
    @classmethod
    def _ascending(cls, looks: tuple[int, ...]) -> tuple[int, ...]:
        ascends = all(before < after for before, after in pairwise(looks))
        if not ascends or looks[0] < MIN_PAIRS or looks[-1] > MAX_PAIRS:
            raise ValueError(f"expected ascending numbers of pairs from {MIN_PAIRS} to {MAX_PAIRS:,}")
        return looks

    @classmethod
    def preset(cls, _spec: EnvSpec, budget: Budget) -> dict[str, Any]:
        """Return the values of a new params.yaml: 5 % of the published result, or else of the champion's."""
        published = budget.min_return_mean
        margin = _DEFAULT_MARGIN if published is None else 0.05 * abs(published)
        return {"must_be": "not_worse", "margin": margin, "alpha": 0.05, "looks": list(_DEFAULT_LOOKS)}

    @classmethod
    def example(cls) -> Self:
        """Return a config for tests and documentation."""
        return cls(name="champion", must_be="not_worse", margin=0.5, alpha=0.05, looks=(10, 20))

    def judge(self, evidence: Evidence) -> Finding:
        """Run episodes look by look until the test decides."""
        if evidence.champion is None:
            return self.holds(f"not compared: {evidence.why_alone}")
        margin = self._in_task_units(evidence.champion)
        plan = PairedPlan(self.must_be, margin, self.alpha, self.looks)
        result = _test(evidence.candidate, evidence.champion, plan)
        expected = f"{self._demand(margin)} (risk of a wrong yes {100 * self.alpha:g} %)"
        if result.reason == "not_finite":
            fault, advice = _not_finite(evidence.candidate, evidence.champion, result)
            return self.refuses(f"not finite: {fault}", expected=expected, advice=advice)
        ends = (result.low, result.high)
        return self._finding(
            _in_words(result, self.alpha),
            expected,
            ok=result.accepted,
            advice=_advice(result, plan),
            figure=result.mean,
            threshold=plan.bound,
            unit=RETURN,
            interval=ends if all(map(math.isfinite, ends)) else None,
            episodes=result.pairs,
        )

    def _in_task_units(self, champion: Scored) -> float:
        """Return the margin; it is the same at every look, as the test demands."""
        if not isinstance(self.margin, str):
            return self.margin
        with np.errstate(invalid="ignore", over="ignore"):
            mean = abs(float(champion.returns(self.looks[0]).mean()))
        return float(self.margin.rstrip(" %")) / 100 * mean if math.isfinite(mean) else 0.0

    def _demand(self, margin: float) -> str:
        words = in_words(margin, RETURN)
        if isinstance(self.margin, str):
            words += f" ({self.margin} of the champion's mean return)"
        if self.must_be == "better":
            return f"must be better by more than {words}" if margin else "must be better"
        return f"must not be worse by {words} or more" if margin else "must not be worse"


def _test(candidate: Scored, champion: Scored, plan: PairedPlan) -> PairedResult:
    for pairs in plan.looks:
        with np.errstate(invalid="ignore"):  # infinite less infinite is a difference that is not finite
            differences = candidate.returns(pairs) - champion.returns(pairs)
        result = paired_test(differences, plan)
        if result.outcome != "undecided":
            break
    return result


def _not_finite(candidate: Scored, champion: Scored, result: PairedResult) -> tuple[str, str]:
    """Return whose return is not finite, and how to get further."""
    advice = "Scale the reward of the task: returns this large cannot be compared."
    for name, scored in (("candidate", candidate), ("champion", champion)):
        returns = scored.returns(result.pairs)
        wrong = np.flatnonzero(~np.isfinite(returns))
        if len(wrong):
            advice = f"Find the step that makes the return of seed {wrong[0]} so."
            if name == "champion":
                change = in_params("take `champion` out")
                advice = f"Nothing compares with it: {change}, until it is replaced."
            return f"the {name}'s return of seed {wrong[0]} is {returns[wrong[0]]}", advice
    return result.fault, advice


def _in_words(result: PairedResult, alpha: float) -> str:
    low, high, size = (in_words(value, RETURN) for value in (result.low, result.high, abs(result.mean)))
    if result.low == result.high == 0:
        return f"equal to the champion on all of {result.pairs} seeds"
    word = "better" if result.mean > 0 else "worse"
    share = f"{100 * (1 - alpha):g} %"
    return f"{word} by {size} on the same {result.pairs} seeds ({share} bounds {low} and {high})"


def _advice(result: PairedResult, plan: PairedPlan) -> str:
    """Say how to get further where the test refuses."""
    if result.reason == "below_bound":
        return "Train longer or with another seed: more seeds will not change it."
    relax = "set a larger `margin`" if plan.must_be == "not_worse" else "ask for `must_be: not_worse`"
    if result.mean <= plan.bound:
        return f"Train longer or with another seed, or {in_params(relax)}."
    needed = result.pairs * ((result.mean - result.low) / (result.mean - plan.bound)) ** 2
    if needed > MAX_PAIRS:
        return (
            f"{MAX_PAIRS:,} seeds cannot show a difference this small: train longer, or {in_params(relax)}."
        )
    last = 10 * math.ceil(needed / 10)
    change = in_params(f"set a later last look or {relax}")
    return f"A difference of this size shows after about {last:,} seeds: {change}."
